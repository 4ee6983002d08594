"""Compare the results and times of all engines for each model.

Usage: python -m tests.bench.engine_agreement FOLDER [--runs 30] [--threads 2] [--json]

FOLDER contains the test data: `models/` with the files of the models in the catalog, and `images/`
with pictures. All models that at least two engines can run here are compared, starting with the
default model; OpenVINO also runs .tflite files that it can read. The other engines are compared
with the first engine of a model:

- box error: the largest distance between the edges of an object with both engines, as a share of
  the side of the picture; for poses, also between keypoints of at least 40 %.
- labels: the share of objects (of at least 40 %) that both engines find with the same label in the
  same place (IoU at least 0.5); for classifications, the share of pictures with the same best
  label.
- output error: 1 - cosine for embeddings, otherwise the largest difference of scores.
- time: the median of the engine alone, as a multiple of the fastest. The engines run alternately
  for each picture, so that other load affects all of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "custom_components/edge_vision/node"))

from edge_vision_node import library
from edge_vision_node.detections import Detections
from edge_vision_node.engines import describe_engines
from edge_vision_node.errors import NodeError
from edge_vision_node.findings import Classification, Embedding, Result
from edge_vision_node.inference.runner import Runner
from edge_vision_node.models import store
from edge_vision_node.models.manifest import Model, load_model

CONFIDENCE = 40.0
CATALOG = Path(library.__file__).parent / "catalogue"


@dataclass
class Row:
    """One engine with one model, compared with the first engine of the model."""

    model: str
    engine: str
    version: str
    objects: int = 0
    box_error: float | None = None
    labels: float | None = None
    output_error: float | None = None
    median_ms: float = 0.0
    time_ratio: float = 1.0


def models(folder: Path, scratch: Path) -> Iterator[Model]:
    """Yield the default model, and the models of the catalog whose files are in a folder."""
    yield store.ModelStore().get(None)
    for manifest in sorted(CATALOG.glob("*/model.json")):
        target = scratch / manifest.parent.name
        shutil.copytree(manifest.parent, target)
        for engine in json.loads(manifest.read_bytes())["engines"].values():
            for name in (file["path"] for file in engine["files"].values()):
                if (folder / name).exists():
                    shutil.copy(folder / name, target / name)
        for name in ("labels.txt", "imagenet_labels.txt"):
            if not (target / name).exists() and (folder / name).exists():
                shutil.copy(folder / name, target / name)
        try:
            model = load_model(target)
            for engine_id in model.manifest.engines:
                model.files(engine_id)
        except NodeError as err:
            print(f"{manifest.parent.name} is skipped: {err}", file=sys.stderr)
            continue
        yield _with_openvino(model)


def _with_openvino(model: Model) -> Model:
    """Return the model with its .tflite file for OpenVINO, too."""
    engines = dict(model.manifest.engines)
    if "litert" in engines and "openvino" not in engines:
        spec = engines["litert"]
        engines["openvino"] = replace(spec, files={"model": spec.files["model"]})
    return replace(model, manifest=replace(model.manifest, engines=engines))


def runners(model: Model, threads: int) -> list[Runner]:
    """Return the model on the processor with every engine that can run it here."""
    found = []
    here = {engine.id for engine in describe_engines() if engine.version is not None}
    for engine_id in model.manifest.engines:  # the engine it was made for is first
        if engine_id not in here:
            continue
        try:
            found.append(Runner(model, engine_id, "cpu", threads))
        except NodeError as err:
            print(f"{model.id} does not run on {engine_id}: {err}", file=sys.stderr)
    return found


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the IoU of a box [4] with others [N, 4]."""
    corner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.clip(corner, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return common / np.maximum(areas - common, 1e-9)


def compare_detections(
    row: Row, first: Detections, other: Detections, agreed: list[bool], errors: list[float]
) -> None:
    """Match the objects of two engines in both directions."""
    limit = CONFIDENCE / 100
    for mine, theirs in ((first, other), (other, first)):
        # Objects near the limit may be on different sides of it.
        for index in np.flatnonzero(mine.scores >= limit + 0.03):
            same = np.flatnonzero(theirs.class_ids == mine.class_ids[index])
            quality = overlap(mine.boxes[index], theirs.boxes[same])
            agreed.append(bool(quality.max(initial=0.0) >= 0.5))
            if not agreed[-1]:
                continue
            match = same[quality.argmax()]
            errors.append(float(np.abs(theirs.boxes[match] - mine.boxes[index]).max()))
            score = float(abs(theirs.scores[match] - mine.scores[index]))
            row.output_error = max(row.output_error or 0.0, score)
            if mine.keypoints is not None and theirs.keypoints is not None:
                sure = mine.keypoints[index, :, 2] >= limit
                points = mine.keypoints[index, sure] - theirs.keypoints[match, sure]
                errors.append(float(np.abs(points[:, :2]).max(initial=0.0)))


def compare(row: Row, results: list[tuple[Result, Result]]) -> None:
    """Fill in the differences between the results of the first engine and another one."""
    agreed: list[bool] = []
    errors: list[float] = []
    for first, other in results:
        if isinstance(first, Detections) and isinstance(other, Detections):
            row.objects += int((first.scores >= CONFIDENCE / 100).sum())
            compare_detections(row, first, other, agreed, errors)
        elif isinstance(first, Classification) and isinstance(other, Classification):
            row.objects += 1
            agreed.append(bool(first.scores.argmax() == other.scores.argmax()))
            difference = float(np.abs(first.scores - other.scores).max())
            row.output_error = max(row.output_error or 0.0, difference)
        elif isinstance(first, Embedding) and isinstance(other, Embedding):
            row.objects += 1
            distance = 1 - float(first.vector @ other.vector)
            row.output_error = max(row.output_error or 0.0, distance)
    row.box_error = max(errors, default=None)
    row.labels = float(np.mean(agreed)) if agreed else None


def measure(model: Model, pictures: list[bytes], runs: int, threads: int) -> list[Row]:
    """Compare the engines of one model; return no rows if fewer than two can run it."""
    engines = runners(model, threads)
    if len(engines) < 2:
        return []
    rows = [Row(model.id, runner.engine, runner.engine_version) for runner in engines]
    results: list[list[Result]] = [[] for _ in engines]
    times: list[list[float]] = [[] for _ in engines]
    for data in pictures:
        for index, runner in enumerate(engines):
            result, _ = runner.run(runner.prepare(data), CONFIDENCE)
            results[index].append(result)
    tensors = [runner.prepare(pictures[0]).tensor for runner in engines]
    for _ in range(runs):
        for index, runner in enumerate(engines):
            started = time.perf_counter()
            runner.infer(tensors[index])
            times[index].append((time.perf_counter() - started) * 1000)
    for index, row in enumerate(rows):
        compare(row, list(zip(results[0], results[index], strict=True)))
        row.median_ms = round(statistics.median(times[index]), 2)
    fastest = min(row.median_ms for row in rows)
    for row in rows:
        row.time_ratio = round(row.median_ms / fastest, 2)
    for runner in engines:
        runner.close()
    return rows


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with models/ and images/")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pictures = [path.read_bytes() for path in sorted((options.folder / "images").iterdir())]
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            row
            for model in models(options.folder / "models", Path(scratch))
            for row in measure(model, pictures, options.runs, options.threads)
        ]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print("| model | engine | objects | box error | labels | output error | time |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.model} | {row.engine} {row.version} | {row.objects}"
            f" | {_cell(row.box_error, '.2%')} | {_cell(row.labels, '.1%')}"
            f" | {_cell(row.output_error, '.3f')} | {row.time_ratio:.2f} x |"
        )


if __name__ == "__main__":
    main()
