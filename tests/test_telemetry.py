"""Log lines and metrics: what they show, and what they never show."""

import io
import json
import logging
import re
from pathlib import Path

import pytest
import structlog

from stream import telemetry

ROOT = Path(__file__).parent.parent


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def set_up():
    """telemetry.set_up, with logging put back as it was."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    yield telemetry.set_up
    root.handlers, root.level = before, level
    structlog.reset_defaults()


def failing(log):
    email = "somebody@example.com"
    try:
        raise ValueError("no")
    except ValueError:
        log.error("batch_failed", exc_info=True)
    return email


def test_a_line_is_one_json_object_with_time_and_level(set_up):
    out = io.StringIO()
    set_up("info", out)
    structlog.get_logger("stream.worker").warning("delivery_died", offset=7)
    logging.getLogger("aiohttp").warning("Unclosed %s", "connection")
    [ours, theirs] = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (ours["event"], ours["offset"], ours["level"]) == ("delivery_died", 7, "warning")
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["level"]) == ("Unclosed connection", "warning")


def test_lines_below_the_level_are_not_written_and_libraries_speak_from_warning_up(set_up):
    out = io.StringIO()
    set_up("info", out)
    structlog.get_logger("stream.worker").debug("silent")
    structlog.get_logger("a_user_s_processor").info("heard")
    logging.getLogger("aiohttp.access").info("silent")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["heard"]


def test_a_terminal_gets_text(set_up):
    out = Terminal()
    set_up("info", out)
    structlog.get_logger("stream.worker").warning("delivery_died", offset=7)
    assert "delivery_died" in out.getvalue() and not out.getvalue().startswith("{")


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_a_traceback_shows_no_values_of_variables(set_up, kind):
    out = kind()
    set_up("info", out)
    failing(structlog.get_logger("stream.worker"))
    assert "ValueError" in out.getvalue()
    assert 'raise ValueError("no")' in out.getvalue() or 'raise ValueError(\\"no\\")' in out.getvalue()
    assert "email" not in out.getvalue() and "somebody" not in out.getvalue()


def test_every_metric_is_ours_by_name_has_a_help_and_no_label_that_could_name_a_person():
    metrics = telemetry.Metrics(telemetry.registry())
    found = [each for each in metrics.registry.collect() if not each.name.startswith("process_")]
    assert len(found) == len([each for each in vars(metrics) if each != "registry"])
    for metric in found:
        assert metric.name.startswith("stream_") and metric.documentation.endswith(".")
    labels = {label for each in vars(metrics).values() for label in getattr(each, "_labelnames", ())}
    assert labels <= {"path", "status", "source", "topic", "reason", "processor", "fate", "destination", "outcome"}


def test_every_metric_is_set_somewhere():
    """A metric that nobody sets shows a 0 that is not true."""
    text = "\n".join(
        file.read_text() for file in (ROOT / "stream").rglob("*.py") if file.name != Path(telemetry.__file__).name
    )
    used = set(re.findall(r"metrics\.(\w+)", text))
    assert vars(telemetry.Metrics(telemetry.registry())).keys() - used == set()


def test_two_processes_in_one_interpreter_have_metrics_of_their_own():
    one, two = telemetry.Metrics(telemetry.registry()), telemetry.Metrics(telemetry.registry())
    one.published.labels("person.changed").inc()
    assert two.registry.get_sample_value("stream_published_messages_total", {"topic": "person.changed"}) is None
    assert one.registry.get_sample_value("stream_published_messages_total", {"topic": "person.changed"}) == 1
