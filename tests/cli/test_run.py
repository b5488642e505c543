"""stream run: what it says of itself is what it does."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SENDING = """
[receiver]
port = 0
[processors.profiles]
[processors.consent]
[processors.deletion]
[processors.forward.a]
url = "http://127.0.0.1:1/"
allow_private = true
[processors.forward.b]
url = "http://127.0.0.1:1/"
"""


async def started(folder: Path, text: str, *words: str) -> tuple[asyncio.subprocess.Process, list[str]]:
    """A running process, and what it printed up to a line that begins with Data or ends with "ada"."""
    (folder / "stream.toml").write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stream", "--config", folder / "stream.toml", "run", *words),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = [line.decode().rstrip() async for line in _until(process.stdout)]
    return process, lines


async def _until(out: asyncio.StreamReader):
    async for line in out:
        yield line
        if line.startswith((b"Data", b"{")):
            return


async def ended(process: asyncio.subprocess.Process) -> str:
    """What it printed after that; it ended by itself, and said nothing on stderr."""
    process.terminate()
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return out.decode()


@pytest.mark.slow
async def test_where_only_a_source_has_a_secret_it_says_so_and_offers_no_request_that_would_be_refused(tmp_path):
    text = "[receiver]\nport = 0\nhost = '127.0.0.1'\n[sources.web]\nsecrets = ['s']\n"
    process, lines = await started(tmp_path, text)
    rest = await ended(process)
    assert lines[0].startswith("Segment posts to  http://127.0.0.1:") and lines[0].endswith("/segment")
    assert lines[1].strip() == "closed: no secret is set for it"
    assert lines[2].endswith("/segment/web")
    assert lines[3].strip() == "signed requests only"
    assert "curl" not in rest


@pytest.mark.slow
async def test_without_any_secret_it_offers_a_request(tmp_path):
    process, lines = await started(tmp_path, "[receiver]\nport = 0\n")
    assert lines[1].strip() == "unsigned requests: no secret is set, so this machine only"
    assert "curl -X POST http://127.0.0.1:" in await ended(process)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "processors", "takes"),
    [
        (["receiver"], [], ["/segment", "/v1"]),
        (["profiles"], ["profiles"], []),
        (["forward.a", "profiles"], ["profiles", "forward.a"], []),
        (["forward"], ["forward.a", "forward.b"], []),
    ],
)
async def test_with_names_it_runs_those_parts_alone(tmp_path, words, processors, takes):
    process, [line] = await started(tmp_path, SENDING, *words, "--json")
    await ended(process)
    found = json.loads(line)
    assert (found["processors"], list(found["takes"]), found["receiver"] is None) == (processors, takes, not takes)


@pytest.mark.slow
async def test_while_it_runs_lag_says_how_its_reactors_stand(tmp_path, run):
    process, _ = await started(tmp_path, SENDING, "--json")
    acting = {"breaker": "unknown"}
    async with asyncio.timeout(20):
        while acting["breaker"] == "unknown":
            result = await asyncio.to_thread(run, "--config", tmp_path / "stream.toml", "lag", "--json")
            acting = {one["processor"]: one["acting"] for one in json.loads(result.stdout)["processors"]}["forward.a"]
    await ended(process)
    assert (acting["breaker"], acting["oldest_open_s"], acting["held_lanes"]) == ("closed", None, 0)
