"""A process that appends to a log that goes away and comes back, and says what was acknowledged, until it is killed."""

import asyncio
import sys
from pathlib import Path
from random import Random

from stream import telemetry
from stream.log.spill import Spill
from tests.spill.away import Away, Place, message

KEYS = "abcdef"


async def send(key: str, number: int, spill: Spill) -> None:
    while True:
        await spill.append([message(key, number)])
        print(key, number, flush=True)
        number += 1
        await asyncio.sleep(0)


async def switch(log: Away, chance: Random) -> None:
    while True:
        await asyncio.sleep(chance.uniform(0.0, 0.03))
        log.mode = chance.choice(["", "", "before", "after", "full"])


async def main(folder: Path, first: int, chance: Random) -> None:
    async with Place(folder).both("before") as (log, spill), asyncio.TaskGroup() as group:
        group.create_task(switch(log, chance))
        for key in KEYS:
            group.create_task(send(key, first, spill))


if __name__ == "__main__":
    telemetry.set_up("error")
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), Random(int(sys.argv[3]))))
