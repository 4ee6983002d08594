"""One camera sends hostile pictures to a real node, while another one sends normal pictures.

Usage: python -m tests.bench.attack_pictures [--pictures 1000] [--seed 1] [--masks] [--json]

Three fifths of the pictures are real ones that were damaged (truncated, overwritten, with a gap),
one fifth has some flipped bits, and one fifth takes very long to decode: thousands of scans,
megabytes of metadata, endless tables and chunks. The latter are sent to one pipeline and all others
to another, as fast as they are processed. A third pipeline with the same model analyzes a normal
picture all the time, for a while before the attack and then during it.

The results are whether the node survives, the times of the normal pictures (from request to
response, in milliseconds), and the damaged pictures that resulted in "nothing there".
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "custom_components/edge_vision/node"))

from tests.hostile_pictures import bombs, damaged, flipped
from tests.node.conftest import Connection, _start
from tests.pictures import SELF_TEST_PICTURE

_PAUSE_S = 0.1
_QUIET_LOOKS = 100
_MASK = [{"x": 0, "y": 0}, {"x": 0.05, "y": 0}, {"x": 0.05, "y": 0.05}]


@dataclass(frozen=True)
class Hostile:
    """A picture: the kind of attack, the file, its pipeline, and whether it is surely damaged."""

    name: str
    data: bytes
    pipeline: str
    damaged: bool = False


def pictures(count: int, seed: int) -> list[Hostile]:
    """Return hostile pictures that only depend on the seed."""
    chance = random.Random(seed)
    street = SELF_TEST_PICTURE.read_bytes()
    with Image.open(io.BytesIO(street)) as opened:
        image = opened.convert("RGB").resize((1280, 960))
    heavy = list(bombs(street).items())
    found: list[Hostile] = []
    while len(found) < count:
        found += [Hostile(name, data, "broken", True) for name, data in damaged(image, chance)]
        found += [Hostile(name, data, "broken") for name, data in flipped(image, chance)]
        found += [Hostile(name, data, "heavy") for name, data in chance.sample(heavy, 4)]
    return found[:count]


class Honest:
    """A camera that sends a picture of a street."""

    def __init__(self, connection: Connection) -> None:
        """Start without results."""
        self._connection = connection
        self.took_ms: list[float] = []
        self.failed: Counter[str] = Counter()

    async def look(self) -> None:
        """Analyze one picture and record the time."""
        started = time.perf_counter()
        answer = await self._connection.look("honest", SELF_TEST_PICTURE.read_bytes())
        self.took_ms.append((time.perf_counter() - started) * 1000)
        if answer.get("type") == "error" or len(answer["objects"]) < 2:
            self.failed[str(answer.get("code"))] += 1
        await asyncio.sleep(_PAUSE_S)

    async def look_on(self) -> None:
        """Analyze pictures until canceled."""
        while True:
            await self.look()


def _spread(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {
        "looks": len(times),
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "most_ms": round(max(times), 1),
    }


async def attack(options: argparse.Namespace) -> dict[str, Any]:
    """Start a node, attack it, and return the figures."""
    hostile = pictures(options.pictures, options.seed)
    answers: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        node = await _start(Path(folder))
        async with node.connect() as mine, node.connect() as theirs:
            masks = {"privacy_masks": [_MASK]} if options.masks else {}
            config = [
                {"pipeline_id": name, "name": name, "confidence": 30.0, **masks}
                for name in ("honest", "broken", "heavy")
            ]
            await mine.configured(*config)
            honest = Honest(mine)
            for _ in range(_QUIET_LOOKS):
                await honest.look()
            quiet, honest.took_ms = honest.took_ms, []
            looking = asyncio.create_task(honest.look_on())
            started = time.perf_counter()
            for number, item in enumerate(hostile, 1):
                answer = await theirs.look(item.pipeline, item.data)
                error = answer.get("type") == "error"
                answers[answer["code"] if error else "looked at"] += 1
                if item.damaged and not error:
                    missed[item.name] += 1
                    wrong[item.name] += not answer["objects"]
                if number % 100 == 0:
                    print(f"{number} of {len(hostile)}", file=sys.stderr)
            took_s = time.perf_counter() - started
            looking.cancel()
            await asyncio.wait([looking])
            status = await theirs.ask("status")
        alive = node.process.returncode is None
        node.process.terminate()
        await node.process.wait()
    return {
        "pictures": len(hostile),
        "seconds": round(took_s, 1),
        "node_alive": alive,
        "quarantined": len(status["quarantined"]),
        "answers": dict(answers),
        "honest_quiet": _spread(quiet),
        "honest_attacked": _spread(honest.took_ms),
        "honest_failed": dict(honest.failed),
        "damaged": sum(item.damaged for item in hostile),
        "damaged_but_looked_at": dict(missed),
        "nothing_there_though_damaged": dict(+wrong),
    }


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--masks", action="store_true", help="privacy masks on both cameras")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(attack(options))
    if options.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:>30}  {value}")


if __name__ == "__main__":
    main()
