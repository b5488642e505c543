"""stream run: what it says of itself is what it does."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


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
    [(["receiver"], [], ["/segment", "/v1"]), (["profiles"], ["profiles"], [])],
)
async def test_with_names_it_runs_those_parts_alone(tmp_path, words, processors, takes):
    process, [line] = await started(tmp_path, "[receiver]\nport = 0\n", *words, "--json")
    await ended(process)
    found = json.loads(line)
    assert (found["processors"], list(found["takes"]), found["receiver"] is None) == (processors, takes, not takes)
