"""Commands beside a `stream run` that another process is."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def running(folder):
    """`stream run` on the folder: what it said when it began."""
    words = ("--config", str(folder / "stream.toml"), "run", "--json")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stream", *words), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    yield json.loads(await process.stdout.readline())
    process.terminate()
    assert await process.wait() == 0


async def post(running, **event):
    async with ClientSession() as client, client.post(f"{running['receiver']}/segment", json=event) as response:
        assert response.status == 200


async def until(stream, expected, *words):
    """Asks until the answer is as expected; a test that waits for nothing hangs, and is seen."""
    while True:
        result = await stream(*words)
        if expected(result):
            return result


@pytest.mark.slow
async def test_what_a_running_process_knows_is_read_and_changed_from_another(running, stream, folder):
    await post(running, type="identify", userId="ada", anonymousId="9", traits={"email": "ada@b.c"})
    await post(running, type="track", userId="ada", event="A", properties={"dead": "odd"})
    await post(running, type="nope", userId="ada")

    found = await until(stream, lambda result: result.exit_code == 0, "person", "ada", "--json")
    assert json.loads(found.stdout)["person"]["traits"] == {"email": "ada@b.c"}
    assert '"event": "A"' in (await stream("tail", "track")).stdout
    assert "unknown_type" in (await stream("invalid", "list")).stdout

    def caught_up(result):
        return all(one["behind"] == 0 for one in json.loads(result.stdout)["processors"])

    await until(stream, caught_up, "lag", "--json")
    mended = json.dumps({"type": "track", "userId": "ada", "properties": {"amount": 4}})
    assert (await stream("held", "edit", 1, "--file", "-", input=mended)).exit_code == 0
    retried = await stream("held", "retry", 1)
    assert (retried.exit_code, retried.stdout) == (0, "1: applied\n")
    assert json.loads((await stream("person", "ada", "--json")).stdout)["rows"] == {"totals": {"user:ada": {"sum": 4}}}

    forgotten = await stream("forget", "ada", "--yes", "--json")
    assert (forgotten.exit_code, json.loads(forgotten.stdout)["state"]) == (0, "done")
    assert "nothing is left" in (await stream("person", "anon:9")).stdout


@pytest.mark.slow
async def test_a_second_run_on_the_same_data_is_refused_and_names_the_first(running, stream, folder):
    result = await stream("run")
    assert result.exit_code == 1
    assert f"{folder} is in use: process " in result.stderr
