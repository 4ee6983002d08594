"""Check whether a model fits a microcontroller, using the real interpreter in a separate process.

The interpreter is TensorFlow Lite Micro, https://github.com/tensorflow/tflite-micro, with all its
operators. Its arena is the single block of memory that it works in.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from ..errors import EngineMissingError, ModelError
from ..plain_files import read_plain

_KIB = 1024
# Large enough to report "needs 30 MiB" for a model that is much too large.
_TRY_ARENA_BYTES = 64 * 2**20
_MOST_MODEL_BYTES = 64 * 2**20
_DEADLINE_S = 60.0
_PACKAGE_PARENT = Path(__file__).parents[2]
_MODULE = f"{__package__}.child"


@dataclass(frozen=True)
class Microcontroller:
    """A chip on a typical module.

    Attributes:
        sram_kib: memory on the chip; `arena_kib` of it are free for a model next to a firmware with
            Wi-Fi.
        psram_kib: slower memory outside the chip.
        flash_kib: memory for firmware and models; `model_kib` of it are free for a model next to a
            firmware with over-the-air updates, which needs two slots.
    """

    id: str
    name: str
    sram_kib: int
    arena_kib: int
    psram_kib: int
    flash_kib: int
    model_kib: int


BOARDS = {
    board.id: board
    for board in (
        # 338 of the 512 KiB are available for data (according to Espressif's size tool); a firmware
        # with Wi-Fi takes about 150. The module has 8 MiB PSRAM and 8 MiB flash, in two slots of
        # 3.75 MiB, of which the firmware takes 1.25.
        Microcontroller("esp32-s3", "ESP32-S3", 512, 192, 8192, 8192, 2560),
    )
}


@dataclass(frozen=True)
class FitTensor:
    """An input or output."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """The requirements of a model, and the `problems` that prevent it from fitting a board.

    `arena_bytes` was verified by running the model in an arena of that size on this computer. It is
    None if the model did not run. `memory` is the memory for an arena of that size: sram or psram.
    """

    model: str
    board: str
    size_bytes: int
    sha256: str
    operators: dict[str, int]
    inputs: tuple[FitTensor, ...] = ()
    outputs: tuple[FitTensor, ...] = ()
    arena_bytes: int | None = None
    memory: str | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Return whether the model fits."""
        return not self.problems


@dataclass(frozen=True)
class _Outcome:
    """One run in the child: its output, and the reason if it failed."""

    operators: dict[str, int] | None
    inputs: tuple[FitTensor, ...]
    outputs: tuple[FitTensor, ...]
    arena_bytes: int | None
    problem: str | None


def check_fit(path: Path, board: Microcontroller, arena_kib: int | None = None) -> Fit:
    """Run a model in TensorFlow Lite Micro and compare its requirements with a board.

    `arena_kib` is the memory that your firmware gives the model; None means a typical value. Raises
    `EngineMissingError`, or `ModelError` if the file is not a TensorFlow Lite model.
    """
    if find_spec("tflite_micro") is None:
        raise EngineMissingError(
            "TensorFlow Lite Micro is not installed: install edge-vision-node[micro]"
            " (there are packages for Linux on x86_64)"
        )
    data = _read(path)
    first = _run(path, _TRY_ARENA_BYTES)
    if first.operators is None:
        raise ModelError(f"{path}: {first.problem}")
    fit = Fit(
        model=str(path),
        board=board.id,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        operators=first.operators,
        inputs=first.inputs,
        outputs=first.outputs,
    )
    problems = [] if first.problem is None else [first.problem]
    if len(data) > board.model_kib * _KIB:
        problems.append(
            f"The file has {_size(len(data))}, but a firmware leaves only"
            f" {_size(board.model_kib * _KIB)} of the {board.flash_kib // 1024} MiB of flash for a"
            " model."
        )
    if first.arena_bytes is None:
        return replace(fit, problems=tuple(problems))
    arena_bytes = _prove(path, first.arena_bytes)
    memory, problem = _place(arena_bytes, board, arena_kib)
    if problem is not None:
        problems.append(problem)
    return replace(
        fit,
        arena_bytes=arena_bytes,
        memory=memory,
        problems=tuple(problems),
        notes=tuple(_notes(fit, memory)),
    )


def _read(path: Path) -> bytes:
    try:
        data = read_plain(path, _MOST_MODEL_BYTES)
    except OSError as err:
        if err.errno == errno.EFBIG:
            raise ModelError(f"{path} is too large for any microcontroller") from err
        raise ModelError(f"{path}: {err.strerror}") from err
    if not data:
        raise ModelError(f"{path} is empty")
    # File identifier of the FlatBuffers schema.
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path} is not a TensorFlow Lite model (.tflite)")
    return data


def _run(path: Path, arena_bytes: int) -> _Outcome:
    """Run the model once in a separate process with a deadline."""
    inherited = os.environ.get("PYTHONPATH")
    search = os.pathsep.join([str(_PACKAGE_PARENT), *([inherited] if inherited else [])])
    command = [sys.executable, "-P", "-m", _MODULE, str(path.absolute()), str(arena_bytes)]
    try:
        child = subprocess.run(  # noqa: S603 - our own module
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": search},
            timeout=_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = f"The model did not finish within {_DEADLINE_S:g} s on this computer."
        return _Outcome({}, (), (), None, problem)
    said: dict[str, object] = {}
    for line in child.stdout.splitlines():
        said |= json.loads(line)
    if "version" not in said:
        reason = (child.stderr.strip().splitlines() or [_signal(child.returncode)])[-1]
        raise EngineMissingError(f"TensorFlow Lite Micro cannot be used here: {reason}")
    operators = said.get("operators")
    assert operators is None or isinstance(operators, dict)
    total = re.search(r"Arena allocation total (\d+) bytes", child.stderr)
    ran = child.returncode == 0 and total is not None
    return _Outcome(
        operators=operators,
        inputs=_tensors(said.get("inputs")),
        outputs=_tensors(said.get("outputs")),
        arena_bytes=int(total[1]) if ran and total else None,
        problem=None if ran else _explain(child.returncode, child.stderr, operators),
    )


def _tensors(items: object) -> tuple[FitTensor, ...]:
    if not isinstance(items, list):
        return ()
    return tuple(FitTensor(item["dtype"], tuple(item["shape"])) for item in items)


def _explain(status: int, stderr: str, operators: dict[str, int] | None) -> str:
    """Return one sentence about why the interpreter did not run the model."""
    if operators is None:
        if status < 0:
            return f"reading the file crashed the reader ({_signal(status)}): it is damaged"
        return "the file is damaged or cut short"
    if "CUSTOM edgetpu-custom-op" in operators:
        return "The model is compiled for an Edge TPU: use the file that it was compiled from."
    missing = re.search(r"Didn't find op for builtin opcode '(\w+)'", stderr)
    if missing:
        return f"TensorFlow Lite Micro has no operator {missing[1]}."
    custom = [name for name in operators if name.startswith("CUSTOM ")]
    if "op code CUSTOM" in stderr and custom:
        names = ", ".join(name.removeprefix("CUSTOM ") for name in custom)
        return f"TensorFlow Lite Micro has no custom operator {names}."
    too_large = re.search(r"Failed to .*Requested: (\d+)", stderr)
    if too_large:
        return f"One allocation needs {_size(int(too_large[1]))}: the arena is far too large."
    if "Hybrid models are not supported" in stderr:
        return (
            "Its weights have a different type than its inputs, or are quantized to uint8 in the"
            " old way: convert it with full integer quantization (int8)."
        )
    if status < 0:
        suspects = f", possibly because of {', '.join(custom)}" if custom else ""
        return f"The model crashed the interpreter ({_signal(status)}){suspects}."
    said, _, error = stderr.partition("Traceback")
    words = [line.strip(" .") for line in said.splitlines() if line.strip()]
    return f"The interpreter rejected it: {'; '.join(words[:2] or error.splitlines()[-1:])}."


def _signal(status: int) -> str:
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _prove(path: Path, arena_bytes: int) -> int:
    """Return the size of an arena in which the model ran: the reported size, or slightly more."""
    for spare in (0, 1 * _KIB, 16 * _KIB):
        if _run(path, arena_bytes + spare).problem is None:
            return arena_bytes + spare
    raise ModelError(
        f"{path} ran in a large arena, but not in one of the {_size(arena_bytes)} that it used"
    )


def _place(
    arena_bytes: int, board: Microcontroller, arena_kib: int | None
) -> tuple[str | None, str | None]:
    """Return the memory that fits an arena, or None and the problem."""
    if arena_kib is not None:
        memory = "sram" if arena_kib <= board.sram_kib else "psram"
        if arena_bytes <= arena_kib * _KIB and arena_kib <= board.psram_kib:
            return memory, None
        if arena_kib > board.psram_kib:
            return None, f"The {board.name} has no {arena_kib} KiB of memory."
        return None, f"It needs an arena of {_size(arena_bytes)}, more than the {arena_kib} KiB."
    if arena_bytes <= board.arena_kib * _KIB:
        return "sram", None
    if arena_bytes <= board.psram_kib * _KIB:
        return "psram", None
    return None, (
        f"It needs an arena of {_size(arena_bytes)}; the {board.name} has {board.sram_kib} KiB of"
        f" SRAM and {board.psram_kib // 1024} MiB of PSRAM."
    )


def _notes(fit: Fit, memory: str | None) -> list[str]:
    notes = [
        (
            "Espressif's fast kernels (ESP-NN) need additional working memory in the arena: give it"
            " a quarter more, and measure on the chip."
        )
    ]
    if any(item.dtype == "float32" for item in fit.inputs):
        notes.append(
            "It computes in float32; quantized to int8, it would run several times faster."
        )
    if memory == "psram":
        notes.append("PSRAM is several times slower than SRAM, and not every module has it.")
    return notes


def _size(size_bytes: int) -> str:
    if size_bytes < 10 * _KIB:
        return f"{size_bytes} bytes"
    if size_bytes < 10 * 2**20:
        return f"{size_bytes / _KIB:.0f} KiB"
    return f"{size_bytes / 2**20:.0f} MiB"


def c_array(data: bytes, fit: Fit, version: str) -> str:
    """Return a C and C++ header that contains the model for a firmware."""
    name = re.sub(r"\W", "_", Path(fit.model).stem, flags=re.ASCII) + "_model"
    if name[0].isdigit():
        name = f"_{name}"
    guard = f"{name.upper()}_H"
    lines = [
        f"// {len(data)} bytes, SHA-256 {fit.sha256}. Written by edge-vision-node {version}.",
        "// Operators, for the resolver: " + ", ".join(fit.operators) + ".",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
    ]
    if fit.arena_bytes is not None:
        lines += [
            "// Used by the model on a 64-bit computer. Give it more: see `fits`.",
            f"#define {name.upper()}_ARENA_BYTES {fit.arena_bytes}",
            "",
        ]
    lines += [
        "// The interpreter reads the tensors in place, so they have to be aligned.",
        f"static const uint8_t {name}[{len(data)}] __attribute__((aligned(16))) = {{",
    ]
    for start in range(0, len(data), 12):
        row = ", ".join(f"0x{byte:02x}" for byte in data[start : start + 12])
        lines.append(f"    {row},")
    lines += ["};", f"static const size_t {name}_len = sizeof({name});", "", f"#endif  // {guard}"]
    return "\n".join(lines) + "\n"
