"""The app is cut while it acts: leases, sends, held lanes, walks and deletions at a destination that records. What it
holds in the end is what it holds after an uncut run; nobody is given what they may not be; what a reactor sent is sent
again only if the cut lay between the send and its memory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.crash import awaits, cutter
from tests.end_to_end.crash.cuts import cuts, failed, spread
from tests.end_to_end.crash.knife import Target
from tests.end_to_end.crash.points import Place

_ACTING = (
    *("runner/", "http/", "acting.py", "reactor.py", "syncer.py", "looking.py", "sight.py", "sharing.py", "lease.py"),
    *(
        "gathering.py",
        "walker.py",
        "gate.py",
        "answering.py",
        "commits.py",
        "reads.py",
        "together.py",
        "errands_sync.py",
    ),
)
_SAMPLE, _STATES = 14, 32


def points(base: Path) -> tuple[list[Target], set[Place]]:
    """Where to cut so as to have cut at each place of the acting modules (test_cutter.py has the others), and at every
    few states of what a cut leaves; and those places."""
    run = cutter.uncut(base / "points", acts=True)
    assert not run.problems
    acting = [one for one in run.places_once if any(place.file.startswith(_ACTING) for place in one.places)]
    targets = dict.fromkeys([*(one.target for one in acting), *run.states_once[::_STATES]])
    return list(targets), {place for one in acting for place in one.places}


def test_acting_that_is_cut_at_some_points_ends_as_an_uncut_run_does(base: Path) -> None:
    targets = points(base)[0][7::_SAMPLE]
    reports = cuts(base, *spread(targets, acting=True))
    assert not failed(reports), failed(reports)
    # What is written together, and so how many targets there are, depends on the machine; and of a few, one or two that
    # another run does not pass in that order are a large part.
    assert sum(bool(report.point) for report in reports) >= len(targets) / 3 > 1


@pytest.mark.slow
def test_acting_that_is_cut_at_any_point_ends_as_an_uncut_run_does(
    base: Path, record_property: Callable[[str, object], None]
) -> None:
    targets, places = points(base)
    reports = cuts(base, *spread(targets, acting=True))
    assert not failed(reports), failed(reports)
    done = sum(bool(report.point) for report in reports)
    record_property("suspension points", f"{done} of {len(targets)}")
    assert done > 0.9 * len(targets), "the others were passed in another state of the files"
    at = {*cutter.uncut(base / "remembering").seen, *places, *(p for report in reports for p in report.places)}
    missed = [one for one in awaits.missing(at) if one.file.startswith(_ACTING)]
    seen = at | {place for report in reports for place in report.seen}
    assert len(missed) < 0.05 * len(targets)
    assert [str(one) for one in awaits.missing(seen) if one.file.startswith((*_ACTING, "store/"))] == []
