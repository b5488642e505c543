"""A process is killed again and again, wherever it is between going away and coming back."""

import asyncio
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.spill.away import TRACK, Place, direct, numbers

ROOT = Path(__file__).parents[2]
ROUNDS = 12
PER_ROUND = 1_000_000  # each round's numbers begin anew, above those of the last


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_or_overtaken_by_whatever_kill(tmp_path: Path) -> None:
    chance = Random(7)
    acknowledged: dict[str, list[int]] = {}
    for number in range(ROUNDS):
        words = [sys.executable, "-m", "tests.spill.sending", str(tmp_path), str(number * PER_ROUND), str(number)]
        process = await asyncio.create_subprocess_exec(
            *words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        said = await process.stdout.readline()
        await asyncio.sleep(chance.uniform(0.0, 0.4))
        process.kill()
        said += (await process.communicate())[0]
        for line in said.decode().splitlines(keepends=True):
            if line.endswith("\n"):
                key, one = line.split()
                acknowledged.setdefault(key, []).append(int(one))
    place = Place(tmp_path)
    async with place.both() as (log, spill):
        await direct(spill)
        found = await numbers(log, [TRACK])
    assert sum(map(len, acknowledged.values())) > 500
    for key, every in acknowledged.items():
        wanted = set(every)
        assert [one for one in found[TRACK, key] if one in wanted] == every, key
