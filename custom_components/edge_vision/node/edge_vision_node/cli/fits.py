"""The command `fits`: whether a model fits a microcontroller."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from .. import __version__
from ..errors import CommandLineError
from ..micro.trial import BOARDS, Fit, FitTensor, c_array, check_fit


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `fits`."""
    command.add_argument("model", type=Path, metavar="MODEL", help="a .tflite file")
    command.add_argument("--board", choices=list(BOARDS), required=True, help="the board")
    command.add_argument(
        "--arena",
        type=int,
        metavar="KIB",
        help="memory that your firmware reserves for the model, in KiB",
    )
    command.add_argument(
        "--c-array", type=Path, metavar="FILE", help="write the model as a C header for firmware"
    )
    command.add_argument(
        "--force", action="store_true", help="write the header even if the model does not fit"
    )


def fits(options: argparse.Namespace) -> int:
    """Run the model in TensorFlow Lite Micro and print whether it fits; return 1 if not."""
    if options.arena is not None and options.arena < 1:
        raise CommandLineError("--arena: expected a number of KiB, at least 1")
    board = BOARDS[options.board]
    fit = check_fit(options.model, board, options.arena)
    written = None
    if options.c_array is not None and (fit.fits or options.force):
        written = _write(options.model, options.c_array, fit)
    if options.json:
        header = str(written) if written else None
        print(json.dumps({"fits": fit.fits, **asdict(fit), "c_array": header}, indent=2))
    else:
        _print(fit)
        if written is not None:
            print(f"  written    {written}")
    return 0 if fit.fits else 1


def _write(model: Path, target: Path, fit: Fit) -> Path:
    if target.exists() and target.samefile(model):
        raise CommandLineError(f"--c-array would overwrite {model}; name another file")
    try:
        target.write_text(c_array(model.read_bytes(), fit, __version__), "ascii")
    except OSError as err:
        raise CommandLineError(f"{target} cannot be written: {err.strerror}") from err
    return target


def _print(fit: Fit) -> None:
    board = BOARDS[fit.board]
    print(f"{fit.model}: {'fits' if fit.fits else 'does not fit'} the {board.name}")
    for problem in fit.problems:
        print(f"  problem    {problem}")
    names = [f"{name} x{count}" if count > 1 else name for name, count in fit.operators.items()]
    print(f"  operators  {', '.join(names)}")
    for kind, tensors in (("input", fit.inputs), ("output", fit.outputs)):
        for tensor in tensors:
            print(f"  {kind:<11}{_shape(tensor)}")
    print(
        f"  flash      {fit.size_bytes / 1024:.1f} KiB of the {board.model_kib} KiB that a"
        " firmware leaves"
    )
    if fit.arena_bytes is not None:
        where = {
            "sram": f"fits into SRAM ({board.sram_kib} KiB, usually {board.arena_kib} free)",
            "psram": f"fits into PSRAM only ({board.psram_kib // 1024} MiB)",
            None: "fits into neither SRAM nor PSRAM as given",
        }[fit.memory]
        print(f"  arena      {fit.arena_bytes / 1024:.1f} KiB: {where}")
    for note in fit.notes:
        print(f"  note       {note}")


def _shape(tensor: FitTensor) -> str:
    return f"{tensor.dtype} {'x'.join(map(str, tensor.shape))}"
