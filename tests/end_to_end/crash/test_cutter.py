"""The app is cut at its suspension points, the files left as they are, and a new process goes on: nothing may differ
from an uncut run. And a member is held while another one deals with everything: nothing that it does afterwards may
count."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.crash import awaits, cutter
from tests.end_to_end.crash.cuts import cuts, failed, shared, spread
from tests.end_to_end.crash.cutter import Orders

AFTER_A_CUT = {
    "Publisher.recover: self.publish(marks, recovering=True)",
    "Publisher._once: self._mark(nulled.union(values), marks, before)",
    "Publisher._mark: store.db.writing(lambda tx: store.marks.add(tx, self._processor, wanted), beside=True)",
    "Eraser.step: self._publisher.recover()",
    "Eraser.step: self._around.store.deletions.finish(deletion.id, self._around.clock())",
}
"""What only the process does that goes on."""


def test_a_run_that_is_cut_at_some_points_ends_as_an_uncut_one_does(base: Path) -> None:
    reports = cuts(base, *shared(11, 97))
    assert not failed(reports), failed(reports)
    assert sum(bool(report.point) for report in reports) > 10


def test_every_await_of_the_engine_is_among_the_points(base: Path) -> None:
    whole = cutter.uncut(base / "uncut")
    assert not whole.problems
    places = ["Deletions.finish", "Marks.clear"]  # those who go on have to finish these
    reports = cuts(base, *(Orders(places=[place]) for place in places))
    assert not failed(reports), failed(reports)
    acting = cutter.uncut(base / "acting", acts=True)
    seen = {*whole.seen, *acting.seen, *(place for report in reports for place in report.seen)}
    assert [str(one) for one in awaits.missing(seen)] == []


@pytest.mark.slow
def test_a_run_that_is_cut_at_any_point_ends_as_an_uncut_one_does(
    base: Path, record_property: Callable[[str, object], None]
) -> None:
    run = cutter.uncut(base / "uncut")
    firsts = run.places_once
    points = list(dict.fromkeys([*(one.target for one in firsts), *run.states_once]))  # what others leave, one leaves
    points = points if os.environ.get("EXHAUSTIVE") == "1" else points[::3]
    reports = cuts(base, *spread(points))
    assert not failed(reports), failed(reports)
    done = sum(bool(report.point) for report in reports)
    record_property("suspension points", f"{done} of {len(points)}")
    print(f"cut at {done} of {len(points)} suspension points")
    assert done > 0.9 * len(points), "the others were passed in another state of the files"
    acting = set(cutter.uncut(base / "acting", acts=True).seen) - set(run.seen)  # test_acting.py cuts at these
    at = acting | {place for one in firsts for place in one.places} | {p for r in reports for p in r.places}
    assert {f"{one.name}: {one.text}" for one in awaits.missing(at)} <= AFTER_A_CUT
    assert [str(one) for one in awaits.missing(at | {place for r in reports for place in r.seen})] == []


@pytest.mark.slow
def test_a_run_that_is_cut_again_while_it_goes_on_ends_as_an_uncut_one_does(base: Path) -> None:
    reports = cuts(base, *shared(3, 13, twice=True))
    assert not failed(reports), failed(reports)
    assert sum(bool(report.point) for report in reports) > 50


def test_positions_that_are_written_before_the_rows_are_caught(base: Path) -> None:
    reports = cuts(base, Orders(places=["Store._write_rows"], fault="position_before_rows"))
    assert "purchases are counted" in failed(reports) or "people." in failed(reports)


def test_marks_that_are_cleared_before_the_append_are_caught(base: Path) -> None:
    orders = shared(180, 7, fault="marks_cleared_before_append", until_problem=True)
    assert "facets." in failed(cuts(base, *orders))


def test_a_claim_that_is_not_checked_is_caught(base: Path) -> None:
    orders = shared(5, 8, hold=True, fault="claim_unchecked", until_problem=True)
    assert " fates to the " in failed(cuts(base, *orders))


def test_a_member_that_lost_its_claims_changes_nothing_after_it(base: Path) -> None:
    reports = cuts(base, *shared(9, 97, hold=True))
    assert not failed(reports), failed(reports)
    assert any(report.point and not report.skipped for report in reports)


@pytest.mark.slow
def test_a_member_that_lost_its_claims_anywhere_changes_nothing_after_it(
    base: Path, record_property: Callable[[str, object], None]
) -> None:
    reports = cuts(base, *shared(1, 7, hold=True))
    assert not failed(reports), failed(reports)
    held = [report for report in reports if report.point and not report.skipped]
    record_property("held at", len(held))
    assert len(held) > 50
