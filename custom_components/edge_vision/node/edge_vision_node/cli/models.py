"""The commands `models` and `inspect`: list, install and remove models; inspect your own."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..errors import CommandLineError, NodeError
from ..findings import in_words
from ..library.catalogue import catalogue
from ..library.inspection.inspector import Inspector, Wish
from ..library.install import Installer, Step
from ..library.manager import describe
from ..models.manifest import Model
from ..models.store import DEFAULT_MODEL, SELF_TEST_PICTURE, ModelStore, is_bundled
from ..models.trust import Trust
from ..plain_files import read_plain
from ..protocol import MAX_PICTURE_BYTES, CatalogueModel, Inspection, ModelTensor, Task, write
from ..workers.pool import Workers

_MIRROR_VARIABLE = "EDGE_VISION_MIRROR"


def add_models_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `models`."""
    command.add_argument(
        "action",
        nargs="?",
        choices=("install", "remove", "allow"),
        help="install a model of the catalog, remove a model, or allow one that crashed",
    )
    command.add_argument("id", nargs="?", help="id of the model")
    command.add_argument("--available", action="store_true", help="list the catalog")
    add_mirror_option(command)


def add_mirror_option(command: argparse.ArgumentParser) -> None:
    """Add `--mirror`."""
    command.add_argument(
        "--mirror",
        type=Path,
        metavar="DIR",
        default=os.environ.get(_MIRROR_VARIABLE),
        help=f"folder with model files to use instead of the network (${_MIRROR_VARIABLE})",
    )


def add_inspect_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `inspect`."""
    command.add_argument(
        "file", type=Path, metavar="FILE", help="a model file, or an archive with one"
    )
    command.add_argument("--labels", type=Path, help="file with one label per line, or data.yaml")
    command.add_argument("--picture", type=Path, help="try it on this picture (a street)")
    command.add_argument(
        "--annotate", type=Path, metavar="JPEG", help="write the picture with boxes"
    )
    command.add_argument(
        "--confidence", type=float, default=40.0, help="minimum confidence in percent (%(default)s)"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="correct the proposal, for example head.type=yolov5 or input.width=416 (repeatable)",
    )
    command.add_argument("--save", metavar="ID", help="save it under this id (needs --data)")
    command.add_argument(
        "--replace", action="store_true", help="replace your own model with that id"
    )


# --- models ---------------------------------------------------------------------------------------


def models(options: argparse.Namespace) -> int:
    """List, install or remove models."""
    if options.action is not None:
        return _change(options)
    store = ModelStore([options.data / "models"] if options.data else [])
    if options.available:
        return _print_catalogue(options, store)
    infos = [model.info() for model in store.models.values()]
    if options.json:
        print(json.dumps([write(info) for info in infos], indent=2))
        return 0
    for info in infos:
        mark = " (default)" if info.id == DEFAULT_MODEL else ""
        print(f"{info.id} {info.version}{mark}")
        print(f"  {info.name}, {info.task}, {info.width}x{info.height}, {len(info.labels)} labels")
        print(f"  for {', '.join(info.engines)}; {info.size_bytes / 2**20:.1f} MiB; {info.license}")
        print(f"  {info.source}")
    return 0


def _print_catalogue(options: argparse.Namespace, store: ModelStore) -> int:
    items = [describe(entry, store) for entry in catalogue().entries.values()]
    items.sort(key=lambda item: (bool(item.unavailable), not item.recommended, item.task, item.id))
    if options.json:
        print(json.dumps([write(item) for item in items], indent=2))
        return 0
    for item in items:
        print(f"{item.id} {item.version}{_marks(item)}")
        print(f"  {item.summary}")
        to_fetch = f"{item.download_bytes / 2**20:.1f} MiB" if item.download_bytes else "nothing"
        print(
            f"  {item.task}; for {', '.join(item.engines)}; {to_fetch} to download; {item.license}"
        )
        if item.unavailable:
            print(f"  not on this device: {item.unavailable}")
    return 0


def _marks(item: CatalogueModel) -> str:
    marks = ["recommended"] if item.recommended else []
    if item.installed:
        marks.append(f"installed {item.installed}")
    return f" ({', '.join(marks)})" if marks else ""


def _change(options: argparse.Namespace) -> int:
    if options.data is None:
        raise CommandLineError(f"models {options.action} needs --data: the node's data folder")
    if options.id is None and options.action != "allow":
        raise CommandLineError(f"models {options.action} needs the id of a model")
    _require_folder(options.data)
    if options.action == "allow":
        allowed = asyncio.run(Trust(options.data).clear(options.id))
        names = ", ".join(sorted({item.name for item in allowed})) or "none was left out"
        print(
            json.dumps([write(item) for item in allowed]) if options.json else f"Allowed: {names}"
        )
        return 0
    store = ModelStore([options.data / "models"])
    installer = Installer(store, options.data / "models", options.mirror)
    if options.action == "remove":
        asyncio.run(installer.remove(options.id))
        store.prune(options.data / "cache")
        print(json.dumps({"removed": options.id}) if options.json else f"Removed {options.id}")
        return 0
    model = asyncio.run(installer.install(options.id, _Progress()))
    if options.json:
        print(json.dumps(write(model.info()), indent=2))
    else:
        print(f"Installed {model.id} {model.manifest.version} in {model.folder}")
    return 0


class _Progress:
    """Shows the progress of an installation on a terminal."""

    def __init__(self) -> None:
        self._told = -1

    def __call__(self, step: Step) -> None:
        percent = 100 * step.done_bytes // max(step.total_bytes, 1)
        if sys.stderr.isatty() and percent != self._told:
            self._told = percent
            end = "\n" if percent == 100 else ""
            print(f"\r{percent:3d} %  {step.file}", end=end, file=sys.stderr, flush=True)


# --- inspect --------------------------------------------------------------------------------------


def inspect(options: argparse.Namespace) -> int:
    """Inspect a model file, propose how to read it and try it; return 1 if it cannot be used."""
    if options.save is not None and options.data is None:
        raise CommandLineError("--save needs --data: the node's data folder")
    try:
        picture = read_plain(options.picture or SELF_TEST_PICTURE, MAX_PICTURE_BYTES)
    except OSError as err:
        raise NodeError(f"{options.picture}: {err.strerror}") from err
    if not options.file.exists():
        raise NodeError(f"{options.file}: No such file")
    wish = Wish(
        path=options.file,
        picture=picture,
        labels=options.labels,
        corrections=dict(_correction(item) for item in options.set),
        confidence=options.confidence,
        save_as=options.save,
        replace=options.replace,
    )
    inspection, jpeg = asyncio.run(_inspect(options.data, wish))
    if options.annotate is not None and jpeg is not None:
        options.annotate.write_bytes(jpeg)
    if options.json:
        print(json.dumps(write(inspection), indent=2))
    else:
        _print_inspection(inspection)
    if inspection.problem is not None:
        print(f"edge-vision-node: error: {inspection.problem}", file=sys.stderr)
        return 1
    return 0


async def _inspect(data: Path | None, wish: Wish) -> tuple[Inspection, bytes | None]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = data or Path(scratch)
        _require_folder(folder)
        workers = Workers(trust=Trust(folder))
        try:
            installer = Installer(ModelStore([folder / "models"]), folder / "models")
            return await Inspector(workers, installer).inspect(wish)
        finally:
            await workers.close()


def _correction(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign:
        raise CommandLineError(f"--set {text}: expected KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _print_inspection(found: Inspection) -> None:
    print(f"{found.file}: {found.format}, {found.size_bytes / 2**20:.1f} MiB")
    for what, tensors in (("inputs", found.inputs), ("outputs", found.outputs)):
        print(f"  {what:<9}{'; '.join(map(_tensor, tensors))}")
    proposal = found.proposal
    if proposal is not None:
        print(
            f"  task     {proposal.task}, read as {proposal.family} ({proposal.confidence:.0f} %)"
        )
        for reason in proposal.reasons:
            print(f"           {reason}")
        shape = proposal.manifest["input"]
        print(
            f"  picture  {shape['width']}x{shape['height']} {shape['colour']} {shape['layout']},"
            f" {shape['resize']}, (pixel - {shape['mean']}) * {shape['scale']}"
        )
        some = ", ".join(proposal.labels[:5])
        print(f"  labels   {len(proposal.labels)}: {some}{' …' * (len(proposal.labels) > 5)}")
    if found.findings is not None:
        seen = in_words(found.findings, proposal.task if proposal else Task.DETECTION)
        print(
            f"  tried    {seen}  ({found.inference_ms:.0f} ms on {found.engine}"
            f" {found.accelerator})"
        )
    if found.saved is not None:
        print(f"  saved    {found.saved.id} {found.saved.version}")


def _tensor(tensor: ModelTensor) -> str:
    sides = " x ".join("any" if side < 0 else str(side) for side in tensor.shape)
    return f"{tensor.name or 'without a name'} {sides or 'one number'} {tensor.dtype}"


# --- For the commands that run a model in their own process ---------------------------------------


def require_proven(
    model: Model, engine: str, accelerator: str | None, data: Path | None, threads: int | None
) -> None:
    """Try a model that is not bundled in a process of its own.

    Raises `QuarantinedError` if it crashed, or the error that says why it cannot be used.
    """
    if not is_bundled(model):
        asyncio.run(_prove(model, engine, accelerator, data, threads))


async def _prove(
    model: Model, engine: str, accelerator: str | None, data: Path | None, threads: int | None
) -> None:
    workers = Workers(threads, trust=Trust(data))
    try:
        place = await workers.choose(model, engine, accelerator)
        await workers.lane(place).prove(place)
    finally:
        await workers.close()


def _require_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise NodeError(f"The data folder {folder} cannot be used: {err.strerror}") from err
