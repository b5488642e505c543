"""Servers that are away or refuse us, as a part that runs alone meets them."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.brokers.fixtures import OwnServer
from tests.end_to_end.crash.posts import identify
from tests.end_to_end.crash.process import ROOT, looking
from tests.end_to_end.destinations.site import Site

pytestmark = pytest.mark.slow

PROCESSORS: dict[str, dict[str, Any]] = {"profiles": {}, "consent": {}, "deletion": {}, "forward": {}}
FORWARD = {"copy": {"url": "http://127.0.0.1:1/events", "allow_private": True, "types": ["track"]}}
_PATIENCE_S = 40.0


async def stream(site: Site, *words: str) -> tuple[int, str, str]:
    """A command's exit code, and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stream", "--config", str(site.folder / "stream.toml"), *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


async def test_a_receiver_alone_takes_events_while_the_store_is_away_and_tells_it_later_where_reactors_begin(
    site: Callable[..., Site], own_server: OwnServer
) -> None:
    async with own_server() as server:
        one = site(store={"url": server.url}, processors={**PROCESSORS, "forward": FORWARD})
        await server.stop()
        async with one.running("receiver") as receiver:
            await receiver.post(identify("a", "ada", {"plan": "pro"}))
            await server.start()
            ends = monotonic() + _PATIENCE_S
            while "forward.copy" not in await positions(one):
                assert monotonic() < ends, one.stderr
                await asyncio.sleep(0.2)


async def positions(site: Site) -> dict[str, Any]:
    async with looking(site.config) as (_, store):
        return await store.positions.all()


async def test_processors_wait_for_a_store_that_is_away(site: Callable[..., Site], own_server: OwnServer) -> None:
    async with own_server() as server:
        one = site(store={"url": server.url}, processors=PROCESSORS | {"forward": FORWARD})
        await server.stop()
        async with one.running("receiver") as receiver:
            await receiver.post(identify("a", "ada", {"plan": "pro"}))
            starting = asyncio.create_task(later(server.start))
            async with one.running("profiles", "consent", "deletion"):
                await starting
                await one.projected()


async def later(start: Callable[[], Any]) -> None:
    await asyncio.sleep(2.0)  # a start of Python takes half a second
    await start()


async def test_a_store_that_refuses_us_ends_a_processor_and_a_check_with_one_line(
    site: Callable[..., Site], postgres_url: str
) -> None:
    nowhere = urlsplit(postgres_url)._replace(path="/no_such_database").geturl()
    one = site(store={"url": nowhere}, processors=PROCESSORS | {"forward": FORWARD})
    code, _, errors = await stream(one, "run", "profiles")
    assert code == 1
    assert errors.count("\n") == 1
    assert errors.startswith("Error: cannot open the store at postgresql://")
    code, out, errors = await stream(one, "check", "--json")
    assert code == 1
    (problem,) = json.loads(out)["problems"]
    assert problem.startswith("store.url: cannot open the store at postgresql://")
    assert problem in errors


async def test_check_asks_both_servers_and_makes_the_tables_only_when_it_is_told_to(site: Callable[..., Site]) -> None:
    one = site(processors=PROCESSORS | {"forward": FORWARD})
    code, out, errors = await stream(one, "check", "--json")
    assert (code, errors) == (0, "")
    assert any("there is no state yet" in said for said in json.loads(out)["differences"])
    assert "password" not in out
    assert (await stream(one, "lag"))[0] == 1, "there is no state yet"
    assert (await stream(one, "check", "--migrate"))[0] == 0
    code, out, _ = await stream(one, "lag", "--json")
    assert (code, {row["behind"] for row in json.loads(out)["processors"]}) == (0, {0})


async def test_a_broker_that_does_not_answer_is_a_problem_that_check_names(
    site: Callable[..., Site], tmp_path: Path, port: int
) -> None:
    one = site(log={"url": f"kafka://127.0.0.1:{port}"}, processors=PROCESSORS | {"forward": FORWARD})
    code, out, _ = await stream(one, "check", "--json")
    (problem,) = json.loads(out)["problems"]
    assert code == 1
    assert problem.startswith("log.url: ")
    assert str(port) in problem


async def test_a_process_without_the_receiver_answers_probes_where_it_is_told_to(
    site: Callable[..., Site], port: int
) -> None:
    one = site(probes={"port": port}, processors=PROCESSORS | {"forward": FORWARD})
    async with one.running("profiles"), aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        for path, said in (("/health", "up\n"), ("/ready", "ready\n")):
            async with client.get(path) as answer:
                assert (answer.status, await answer.text()) == (200, said)
        async with client.get("/metrics") as answer:
            assert 'stream_processor_stopped{processor="profiles"}' in await answer.text()
        async with client.post("/segment") as answer:
            assert answer.status == 404


async def test_a_receiver_starts_while_kafka_is_away_and_keeps_events_in_its_spill_and_the_gate_hears_of_it(
    site: Callable[..., Site], tmp_path: Path, port: int
) -> None:
    one = site(
        log={"url": f"kafka://127.0.0.1:{port}"},
        spill={"folder": str(tmp_path / "spill")},
        processors=PROCESSORS | {"forward": FORWARD},
    )
    async with one.running("receiver") as receiver:
        await receiver.post(identify("a", "ada", {"plan": "pro"}))
        ends = monotonic() + _PATIENCE_S
        while not await spilled(one):
            assert monotonic() < ends, one.stderr
            await asyncio.sleep(0.2)


async def spilled(site: Site) -> dict[str, float]:
    async with looking(site.config) as (_, store):
        return await store.spilled.all()
