"""The command line, `edge-vision-node`.

With `--json`, stdout has one JSON document (or one line per result) and nothing else. Logs go to
stderr. Exit status: 0 success, 1 failure with one clear line, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..drawing.boxes import annotate, to_jpeg
from ..engines import default_threads
from ..errors import CommandLineError, NodeError
from ..findings import in_words
from ..frames.decode import decode
from ..inference.runner import Runner, default_engine
from ..inference.timing import bench, street_720p
from ..models.store import DEFAULT_MODEL
from ..node_logging import begin_to_log
from ..plain_files import read_plain
from ..protocol import MAX_PICTURE_BYTES, write
from ..server.serve import ServeOptions, serve
from ..storage.event_log import FILE_NAME, ResultLog
from .bench import bench_all, print_bench
from .fits import add_options as add_fits_options
from .fits import fits
from .hardware import add_options as add_hardware_options
from .hardware import hardware
from .models import (
    add_inspect_options,
    add_mirror_option,
    add_models_options,
    inspect,
    models,
    require_proven,
)
from .own_models import model_of
from .track import add_options as add_track_options
from .track import track

PROGRAM = "edge-vision-node"
_MOST_SECONDS = 3600

# The findings of a task; an empty list means that nothing was found.
_FINDINGS_OF_TASK = {
    "detection": ("objects",),
    "pose": ("objects",),
    "face": ("objects",),
    "classification": ("classes",),
    "segmentation": ("classes",),
    "embedding": ("embedding",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    options = _parser().parse_args(arguments)
    begin_to_log(options.log_level.upper())
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except CommandLineError as err:
        print(f"{PROGRAM}: error: {err}", file=sys.stderr)
        return 2
    except NodeError as err:
        print(f"{PROGRAM}: error: {err}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader has closed the pipe; the interpreter must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as err:
        where = f"{err.filename}: " if err.filename else ""
        print(f"{PROGRAM}: error: {where}{err.strerror or err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _detect(options: argparse.Namespace) -> int:
    runner = _runner(options)
    class_ids = runner.class_ids(_labels(options))
    if options.annotate is not None:
        if options.annotate.exists() and not options.annotate.is_dir():
            raise CommandLineError(f"--annotate needs a folder; {options.annotate} is a file")
        options.annotate.mkdir(parents=True, exist_ok=True)
    keys = _FINDINGS_OF_TASK[runner.model.manifest.task]
    failed = False
    drawn: set[str] = set()
    for path in options.images:
        try:
            data = read_plain(path, MAX_PICTURE_BYTES)
            prepared = runner.prepare(data)
            result, inference_ms = runner.run(prepared, options.confidence, class_ids)
        except (OSError, NodeError) as err:
            failed = True
            reason = (err.strerror or str(err)) if isinstance(err, OSError) else str(err)
            print(f"{PROGRAM}: error: {path}: {reason}", file=sys.stderr)
            if options.json:
                print(json.dumps({"image": str(path), "error": reason}))
            continue
        found = runner.findings(result, options.confidence)
        if options.json:
            print(
                json.dumps(
                    {
                        "image": str(path),
                        "width": prepared.width,
                        "height": prepared.height,
                        "model": runner.model.id,
                        "task": runner.model.manifest.task,
                        "engine": runner.engine,
                        "accelerator": runner.accelerator,
                        "inference_ms": round(inference_ms, 2),
                        **{key: value for key, value in write(found).items() if key in keys},
                    }
                )
            )
        else:
            text = in_words(found, runner.model.manifest.task)
            print(f"{path}: {text}  ({inference_ms:.0f} ms)")
        if options.annotate is not None:
            image = decode(data, sound=True).image
            target = _target(options.annotate, path, drawn, options.images)
            target.write_bytes(to_jpeg(annotate(image, found.objects, found.classes)))
    return 1 if failed else 0


def _target(folder: Path, path: Path, drawn: set[str], images: Sequence[Path]) -> Path:
    """Return the file for a picture with boxes, which none of the `drawn` ones has.

    Raises `CommandLineError` if that would overwrite one of the pictures.
    """
    name, number = path.stem, 1
    while name.casefold() in drawn:
        number += 1
        name = f"{path.stem}-{number}"
    drawn.add(name.casefold())
    target = folder / f"{name}.jpg"
    for image in images:
        if target.exists() and image.exists() and target.samefile(image):
            raise CommandLineError(f"--annotate would overwrite {image}; name another folder")
    return target


def _bench(options: argparse.Namespace) -> int:
    if options.all:
        if options.engine or options.accelerator or options.image:
            raise CommandLineError("--all measures every engine with a built-in picture")
        return bench_all(options, model_of(options))
    runner = _runner(options)
    data = read_plain(options.image, MAX_PICTURE_BYTES) if options.image else street_720p()
    result = bench(runner, data, options.seconds, options.threads or default_threads())
    print_bench(result, as_json=options.json)
    return 0


def _track(options: argparse.Namespace) -> int:
    return track(options, _runner(options))


def _results(options: argparse.Namespace) -> int:
    path = options.data / FILE_NAME
    if not path.exists():
        raise NodeError(f"There is no event log {path}")
    log = ResultLog(path)
    try:
        logged = log.newest(options.pipeline, options.limit)
    finally:
        log.close()
    for item in logged:
        if options.json:
            print(json.dumps({"seq": item.seq, **write(item.event)}))
        else:
            event = item.event
            print(
                f"{item.seq:>7}  {event.captured_at}  {event.pipeline_id}  {event.kind}"
                f" {event.phase:<7}  {event.label} x{event.count}  {event.confidence:.0f}%"
            )
    return 0


def _serve(options: argparse.Namespace) -> int:
    if (options.socket is None) == (options.host is None):
        raise CommandLineError("use either --socket, or --host and --port")
    if options.host is not None and options.port is None:
        raise CommandLineError("--host needs --port")
    return serve(
        ServeOptions(
            data=options.data,
            socket=options.socket,
            host=options.host,
            port=options.port,
            token_file=options.token_file,
            tls_certificate=options.tls_certificate,
            tls_key=options.tls_key,
            parent_stdin=options.parent_stdin,
            threads=options.threads,
            mirror=options.mirror,
        )
    )


def _runner(options: argparse.Namespace) -> Runner:
    model = model_of(options)
    engine = options.engine or default_engine(model)
    cache = options.data / "cache" if options.data else None
    require_proven(model, engine, options.accelerator, options.data, options.threads)
    return Runner(model, engine, options.accelerator, options.threads, cache)


def _labels(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(label.strip() for label in (options.labels or "").split(",") if label.strip())


def _percent(text: str) -> float:
    value = float(text)
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError("expected a percentage between 0 and 100")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected a number, at least 1")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= _MOST_SECONDS:  # NaN is neither
        raise argparse.ArgumentTypeError(
            f"expected seconds, more than 0 and at most {_MOST_SECONDS}"
        )
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Edge AI for camera pictures.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON for programs")
    common.add_argument(
        "--log-level",
        default="warning",
        choices=("debug", "info", "warning", "error"),
        help="how much to log on stderr (%(default)s)",
    )
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data", type=Path, help="the node's data folder, for models installed there"
    )
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("--model", help=f"id of a model, or a model file ({DEFAULT_MODEL})")
    model.add_argument("--engine", help="id of an engine (the first that works)")
    model.add_argument("--accelerator", help="id of an accelerator (the engine's best)")
    model.add_argument("--threads", type=_positive, help="threads of one inference (up to 4)")

    def add(name: str, run: Any, text: str, *parents: argparse.ArgumentParser) -> Any:
        command = commands.add_parser(name, help=text, description=text, parents=[common, *parents])
        command.set_defaults(run=run)
        return command

    add_hardware_options(add("hardware", hardware, "Show what this machine has to run models on."))
    add_fits_options(add("fits", fits, "Say whether a model fits a microcontroller."))
    add_models_options(add("models", models, "List the models, install or remove one.", data))
    add_inspect_options(add("inspect", inspect, "Look at a model of your own and try it.", data))
    detect = add("detect", _detect, "Detect objects in pictures.", data, model)
    detect.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="JPEG, PNG or WebP")
    detect.add_argument(
        "--confidence",
        type=_percent,
        default=40.0,
        help="minimum confidence in percent (%(default)s)",
    )
    detect.add_argument("--labels", help="only these labels, comma-separated")
    detect.add_argument(
        "--annotate", type=Path, metavar="DIR", help="write pictures with boxes into this folder"
    )
    timing = add("bench", _bench, "Measure what a picture costs here.", data, model)
    timing.add_argument("--seconds", type=_seconds, default=5.0, help="how long (%(default)s)")
    timing.add_argument(
        "--all", action="store_true", help="measure all engines and accelerators, and recommend one"
    )
    timing.add_argument("--image", type=Path, help="your own picture (a street in 720p)")
    add_track_options(add("track", _track, "Follow the objects of a video.", data, model))
    results = add("results", _results, "Read the local result log, newest first.")
    results.add_argument("--data", type=Path, required=True, help="the node's data folder")
    results.add_argument("--pipeline", help="only this pipeline's")
    results.add_argument("--limit", type=_positive, default=50, help="how many (%(default)s)")
    server = add("serve", _serve, "Serve a hub.")
    server.add_argument("--data", type=Path, required=True, help="the node's data folder")
    server.add_argument("--socket", type=Path, help="listen on this unix socket")
    server.add_argument("--host", help="listen on this address")
    server.add_argument("--port", type=int, help="listen on this port (0: any)")
    server.add_argument("--token-file", type=Path, help="file with the token that hubs log in with")
    server.add_argument("--tls-certificate", type=Path, help="PEM file, for TLS")
    server.add_argument("--tls-key", type=Path, help="PEM file, for TLS")
    server.add_argument("--threads", type=_positive, help="threads of one inference (up to 4)")
    add_mirror_option(server)
    server.add_argument("--parent-stdin", action="store_true", help="end when standard input ends")
    return parser
