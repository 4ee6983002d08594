"""Attack the inspection of models with deliberately damaged files.

    .venv/bin/python tests/bench/attack_models.py [--files 10000] [--seconds 240] [--tried 40]

Intact models and archives of every kind are changed randomly: bytes and numbers are changed, parts
removed, duplicated or moved, lengths increased, members renamed. Each file is read as in the node,
in a process with limited memory and time. Then some of those that are still models are inspected
completely, in the temporary processes of a real node. These are failures:

- a crash of the reading process, or an exception without a message for the user;
- a read that takes more than a second or more than 256 MiB of memory;
- a node that does not respond afterwards;
- a wrong acceptance: a model that reads files outside its folder, or is saved without a test.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import io
import json
import multiprocessing
import random
import resource
import shutil
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

NODE = Path(__file__).parents[2] / "custom_components" / "edge_vision" / "node"
sys.path[:0] = [str(NODE), str(Path(__file__).parents[2])]

import numpy as np  # noqa: E402
from edge_vision_node.errors import NodeError  # noqa: E402
from edge_vision_node.library.inspection.candidate import Candidate  # noqa: E402
from edge_vision_node.library.inspection.inspector import Inspector, Wish  # noqa: E402
from edge_vision_node.library.install import Installer  # noqa: E402
from edge_vision_node.models.store import BUNDLED, SELF_TEST_PICTURE, ModelStore  # noqa: E402
from edge_vision_node.models.trust import Trust  # noqa: E402
from edge_vision_node.workers.pool import Workers  # noqa: E402

from tests.onnx_files import answering  # noqa: E402

_MEMORY = 2 * 2**30
_SLOW_S, _HANG_S, _LARGE = 1.0, 20.0, 256 * 2**20


# --- Intact files ---------------------------------------------------------------------------------


def _onnx() -> bytes:
    table = np.full((1, 7, 189), 0.3, np.float32)
    names = "{0: 'cat', 1: 'dog', 2: 'bird'}"
    return answering(
        [("images", (1, 3, 96, 96), "float32")],
        {"output0": table},
        {"names": names, "task": "detect", "imgsz": "[96, 96]"},
    )


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _tflite() -> bytes | None:
    """Return any available TensorFlow Lite file: the catalog does not include one."""
    data = Path(__file__).parents[3] / "shared" / "testdata" / "models"
    found = sorted(data.glob("*.tflite"), key=lambda path: path.stat().st_size)
    return found[0].read_bytes() if found else None


def seeds() -> dict[str, bytes]:
    """Return name → content of intact files."""
    onnx, labels = _onnx(), b"cat\ndog\nbird\n"
    param = (BUNDLED / "ssd_mobilenet_v2_coco" / "model.ncnn.param").read_bytes()
    described = json.dumps(
        {
            "task": "detection",
            "input": {"width": 64, "height": 64},
            "inputs": ["in"],
            "outputs": ["out"],
            "head": {"type": "end_to_end", "classes": 3},
        }
    ).encode()
    members = {"best.onnx": onnx, "labels.txt": labels, "README.md": b"Hello"}
    hef = {"m.hef": b"\x01HEF" + bytes(64), "model.json": described}
    xml = (
        b"<?xml version='1.0'?><net><layers><layer type='Parameter' name='x'><data shape='1,3,8,8'"
        b" element_type='f32'/><output><port precision='FP32' names='x'><dim>1</dim><dim>3</dim>"
        b"<dim>8</dim><dim>8</dim></port></output></layer></layers></net>"
    )
    whole = {
        "m.onnx": onnx,
        "ncnn.zip": _zip({"m.param": param, "m.bin": bytes(64)}),
        "openvino.zip": _zip({"m.xml": xml, "m.bin": bytes(64)}),
        "hef.zip": _zip(hef),
        "m.zip": _zip(members),
        "m.tar": _tar(members),
        "m.tgz": gzip.compress(_tar(members)),
        "yaml.zip": _zip({"best.onnx": onnx, "data.yaml": b"names:\n  0: cat\n  1: dog\n"}),
    }
    if (tflite := _tflite()) is not None:
        whole["m.tflite"] = tflite
    return whole


# --- Damage ---------------------------------------------------------------------------------------


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] = rng.randrange(256)


def _number(rng: random.Random, data: bytearray) -> None:
    kind = rng.choice(("<H", "<I", "<Q", ">I"))
    value = rng.choice((0, 1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1))
    at, size = rng.randrange(max(1, len(data) - 8)), struct.calcsize(kind)
    data[at : at + size] = struct.pack(kind, value % 2 ** (8 * size))


def _varint(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = b"\xff" * rng.choice((1, 4, 9, 10)) + bytes([rng.choice((0, 1, 0x7F))])


def _cut(rng: random.Random, data: bytearray) -> None:
    begin = rng.randrange(len(data))
    del data[begin : begin + rng.choice((1, 16, 1024, len(data)))]


def _double(rng: random.Random, data: bytearray) -> None:
    begin = rng.randrange(len(data))
    piece = data[begin : begin + rng.choice((4, 64, 4096))]
    at = rng.randrange(len(data))
    data[at:at] = piece * rng.choice((1, 3, 50))


def _text(rng: random.Random, data: bytearray) -> None:
    words = (b"../", b"..\\", b"\0", b"\xff\xfe", b"1e999", b"-1", b"9" * 400, b"[" * 300, b"/etc/")
    at = rng.randrange(len(data))
    word = rng.choice(words)
    data[at : at + len(word)] = word


_DAMAGE: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip,
    _flip,
    _number,
    _varint,
    _cut,
    _double,
    _text,
)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return a file with one to three kinds of damage."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if data:
            rng.choice(_DAMAGE)(rng, data)
    return bytes(data)


def repacked(rng: random.Random, name: str, content: bytes) -> bytes:
    """Return an intact archive with damaged members."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {item.filename: file.read(item) for item in file.infolist()}
    for member in list(members):
        if rng.random() < 0.6:
            members[member] = damaged(rng, members[member])
        if rng.random() < 0.1:
            odd = rng.choice(("../", "a/", "__MACOSX/", "C:\\", "/", ".", "x\\", "\u202e"))
            members[odd + member] = members.pop(member)
    return _zip(members)


def attacks(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of damaged files."""
    rng = random.Random(seed)
    whole = list(seeds().items())
    for i in range(count):
        name, content = whole[i % len(whole)]
        if name.endswith(".zip") and rng.random() < 0.7:
            yield name, repacked(rng, name, content)
        else:
            yield name, damaged(rng, content)


# --- Reading --------------------------------------------------------------------------------------


def _serve(pipe: Connection) -> None:
    """Read files as the node does, one after the other, and send the result of each."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    while True:
        path, folder = pipe.recv()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        try:
            candidate = Candidate(folder, path, None)
            outside = [x for x in candidate.content.external if "/" in x or "\\" in x]
            result = "wrong acceptance" if outside else "a model"
        except NodeError:
            result = "refused"
        except BaseException as err:  # noqa: BLE001 - exceptions without a message for the user are failures
            result = f"{type(err).__name__}: {err}"[:200]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        pipe.send((result, time.perf_counter() - started, grown))


class _Reader:
    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def read(self, path: Path, folder: Path) -> tuple[str, float, float]:
        """Return the result, seconds and bytes of memory."""
        try:
            self._pipe.send((path, folder))
            if self._pipe.poll(_HANG_S):
                answer: tuple[str, float, float] = self._pipe.recv()
                return answer
            result = "hang"
        except EOFError, OSError:
            result = "crash"
        self.close()
        self._start()
        return result, _HANG_S, 0.0

    def close(self) -> None:
        self._process.kill()
        self._process.join()


@dataclass
class Found:
    """The results of all files."""

    results: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    largest: float = 0.0
    slow: int = 0
    greedy: int = 0
    models: list[tuple[str, bytes]] = field(default_factory=list)


def read_all(count: int, seconds: float, seed: int, scratch: Path) -> Found:
    """Read damaged files until the number or the time is reached."""
    found, reader, until = Found(), _Reader(), time.monotonic() + seconds
    try:
        for name, content in attacks(count, seed):
            if time.monotonic() > until:
                break
            path, folder = scratch / name, scratch / "candidate"
            path.write_bytes(content)
            folder.mkdir()
            result, took_s, grown = reader.read(path, folder)
            shutil.rmtree(folder)
            path.unlink()
            found.results[result] += 1
            found.slowest_s = max(found.slowest_s, took_s)
            found.largest = max(found.largest, grown)
            found.slow += took_s > _SLOW_S
            found.greedy += grown > _LARGE
            if result == "a model":
                found.models.append((name, content))
    finally:
        reader.close()
    return found


# --- Inspecting -----------------------------------------------------------------------------------


async def inspect_some(
    models: list[tuple[str, bytes]], seconds: float, scratch: Path
) -> Counter[str]:
    """Inspect models completely, and then an intact one, which still has to work."""
    results: Counter[str] = Counter()
    workers = Workers(trust=Trust(scratch))
    installer = Installer(ModelStore([scratch / "models"]), scratch / "models")
    inspector = Inspector(workers, installer)
    picture = SELF_TEST_PICTURE.read_bytes()
    until = time.monotonic() + seconds
    try:
        for name, content in models:
            if time.monotonic() > until:
                break
            path = scratch / name
            path.write_bytes(content)
            try:
                wish = Wish(path=path, picture=picture, save_as="attack", replace=True)
                inspection, _ = await inspector.inspect(wish)
            except NodeError:
                results["refused"] += 1
                continue
            except Exception as err:  # noqa: BLE001 - exceptions without a message for the user are failures
                results[f"{type(err).__name__}: {err}"[:200]] += 1
                continue
            if inspection.saved and not (inspection.findings or inspection.problem):
                results["wrong acceptance"] += 1
            elif inspection.problem is None:
                results["ran"] += 1
            else:
                crashed = "crashed" in inspection.problem
                results["engine process crashed" if crashed else "rejected with a reason"] += 1
        path = scratch / "whole.onnx"
        path.write_bytes(_onnx())
        inspection, _ = await inspector.inspect(Wish(path=path, picture=picture))
        results["an intact model afterwards: " + (inspection.problem or "ran")] += 1
    finally:
        await workers.close()
    return results


def main() -> None:
    """Attack and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=240.0, help="maximum time for reading")
    parser.add_argument("--tried", type=int, default=40, help="models to inspect completely")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        found = read_all(options.files, options.seconds, options.seed, scratch)
        total = sum(found.results.values())
        print(f"read       {total} damaged files of {', '.join(seeds())}")
        for result, count in found.results.most_common():
            print(f"  {count:6d}  {result}")
        print(f"  slowest {found.slowest_s:.2f} s, {found.slow} over {_SLOW_S:g} s")
        print(f"  memory  up to {found.largest / 2**20:.0f} MiB, {found.greedy} over 256 MiB")
        step = max(1, len(found.models) // max(1, options.tried))
        chosen = found.models[::step][: options.tried]
        results = asyncio.run(inspect_some(chosen, options.seconds, scratch))
        print(f"inspected  {len(chosen)} of {len(found.models)} that are still models")
        for result, count in results.most_common():
            print(f"  {count:6d}  {result}")


if __name__ == "__main__":
    main()
