"""What compose.yaml, its settings and the image say fits together. tests/compose brings them up."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from stream import config
from stream.building import build

ROOT = Path(__file__).parent.parent
COMPOSE = re.sub(r" *# .*", "", (ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENVIRONMENT = (ROOT / ".env.example").read_text()
SETTINGS = ROOT / "deploy" / "stream.toml"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def services():
    """What compose.yaml runs → its lines."""
    text = COMPOSE.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    found = re.split(r"^  ([a-z-]+):\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def ran():
    """Which parts of stream a service runs, each by itself."""
    return [part for text in services().values() for part in re.findall(r"^    command: \[run, (\w+)\]$", text, re.M)]


@pytest.fixture
def settings(monkeypatch):
    """deploy/stream.toml as the containers read it."""
    for name in required():
        monkeypatch.setenv(name, "made-for-a-test")
    return config.load(SETTINGS)


def required():
    """Variables without which compose.yaml stops."""
    return set(re.findall(r"\$\{(\w+):\?", COMPOSE))


def test_every_image_has_a_version_and_ours_is_the_projects():
    images = (
        re.findall(r"image: (\S+)", COMPOSE) + re.findall(r"^ARG PYTHON=(\S+)|^FROM (?!\$)(\S+)", DOCKERFILE, re.M)[0:1]
    )
    tags = [str(image).rpartition(":")[2].rstrip("}',)") for image in images]
    assert len(tags) == 4 and "latest" not in tags and all(re.search(r"\d", tag) for tag in tags)
    assert f"segment-stream:{VERSION}}}" in COMPOSE


def test_whatever_is_configured_is_run_by_a_service_and_once(settings):
    assert sorted(ran()) == sorted(["receiver", "receiver", *config.Config().processors, "forward"])
    assert settings.processors.keys() <= set(ran())
    build(settings)


def test_it_is_kafka_and_postgresql_by_their_services_names_and_the_receivers_keep_a_volume(settings):
    assert settings.log.url == "kafka://kafka:9092" and settings.store.url.endswith("@postgres:5432/stream")
    keeping = [name for name, text in services().items() if f"spill:{settings.spill.folder}]" in text]
    assert keeping == ["prepare", *(name for name in services() if name.startswith("receiver"))]
    assert settings.spill.folder in DOCKERFILE, "the image has it, so that the volume belongs to its user"


def test_every_variable_is_in_the_example_of_an_environment_and_the_required_ones_are_empty_there():
    used = set(re.findall(r"\$\{(\w+)", COMPOSE)) | {"COMPOSE_PROFILES"}
    assert set(re.findall(r"^#? ?([A-Z_]+)=", ENVIRONMENT, re.M)) == used
    assert set(re.findall(r"^([A-Z_]+)=$", ENVIRONMENT, re.M)) == required()
    assert set(re.findall(r"^[^#]*\$\{(\w+)\}", SETTINGS.read_text(), re.M)) == required()


def test_every_service_has_bounds_and_no_way_to_more_privileges():
    for name, text in services().items():
        shared = text if "<<: *stream" not in text else COMPOSE.partition("\nservices:\n")[0]
        for said in ("mem_limit:", "no-new-privileges:true", "stop_grace_period:", "restart:", "logging:"):
            assert said in shared, (name, said)
    for said in ("read_only: true", "cap_drop: [ALL]", "init: true"):
        assert said in COMPOSE.partition("\nservices:\n")[0]


def test_the_image_is_made_of_what_its_build_is_given():
    given = {
        line[1:].partition("/")[0] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = [word for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.M) for word in shlex.split(line)]
    assert given == set(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_runs_as_a_user_by_number_and_its_processes_hear_signals():
    assert re.search(r"^USER \d+:\d+$", DOCKERFILE, re.M), "by number, so that runAsNonRoot can be checked"
    assert re.findall(r"^(?:ENTRYPOINT|CMD) (.)", DOCKERFILE, re.M) == ["[", "["], "a shell would not pass them on"
