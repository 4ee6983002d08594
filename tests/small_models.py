"""Real models of a few hundred bytes with outputs that depend on the color of the picture.

The graph multiplies the mean color of the picture by a matrix: ReduceMean, MatMul, Reshape. The
output for a pure color is a row of that matrix, so tests select outputs with the color of a
picture. Each model has files for ONNX Runtime and for ncnn.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.onnx_files import onnx_file

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
_SIDE = 16

COCO_KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder"),
    *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip"),
    *("right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)
# x, y of the center of shoulders, hips, knees and ankles; the head continues from the shoulders.
_BODIES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "standing": ((0.5, 0.3), (0.5, 0.5), (0.5, 0.7), (0.5, 0.9)),
    "sitting": ((0.5, 0.3), (0.5, 0.55), (0.7, 0.57), (0.7, 0.8)),
    "lying": ((0.2, 0.8), (0.45, 0.8), (0.65, 0.8), (0.85, 0.8)),
}


def painted(colour: tuple[int, int, int]) -> bytes:
    """Return a picture of one color as PNG, because JPEG would change it slightly."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


def add_classification(models: Path) -> str:
    """Add a model that classifies pictures as red, green or blue."""
    head = {"type": "classification", "classes": 3, "score": "softmax"}
    rows = np.eye(3) * 8
    return _add(models, "colours", "classification", head, ["red", "green", "blue"], rows, (1, 3))


def add_embedding(models: Path) -> str:
    """Add a model whose vector for a red picture is 0.6, 0.8."""
    rows = np.array([(3, 4), (1, 0), (0, 1)], dtype=np.float64)
    head = {"type": "embedding", "dimensions": 2}
    return _add(models, "fingerprint", "embedding", head, [], rows, (1, 2))


def add_pose(models: Path) -> str:
    """Add a model that finds a standing (red), sitting (green) or lying (blue) body, or none."""
    rows = np.stack([body(name) for name in _BODIES]).reshape(3, -1)
    shape = (1, 1, len(COCO_KEYPOINTS), 3)
    return _add(
        models, "bodies", "pose", {"type": "movenet"}, ["person"], rows, shape, COCO_KEYPOINTS
    )


def add_face(models: Path) -> str:
    """Add a model that finds one face in red pictures, two in green ones, and otherwise none."""
    one, other, nothing = (2, 2, 8, 8, 0.9, 0), (8, 2, 14, 8, 0.7, 0), (0,) * 6
    rows = np.array([one + nothing, one + other, nothing * 2], dtype=np.float64)
    head = {"type": "end_to_end", "classes": 1, "keypoints": 0}
    return _add(models, "faces", "face", head, ["face"], rows, (1, 2, 6))


def add_landmarks(models: Path, turned: bool = False) -> str:
    """Add a model with two points for the crops of a detector, and that detector.

    The detector finds one face in the middle half of red pictures, `turned` by 90 degrees to the
    left, and otherwise none. The points of the other model are always at three quarters to the
    right and down of its crop.
    """
    points = (8, 12, 0.9, 8, 4, 0.9) if turned else (4, 8, 0.9, 12, 8, 0.9)
    rows = np.array([(4, 4, 12, 12, 0.9, 0, *points), (0,) * 12, (0,) * 12], dtype=np.float64)
    head = {"type": "end_to_end", "classes": 1, "keypoints": 2}
    names = ("left", "right")
    _add(models, "marks", "face", head, ["face"], rows, (1, 1, 12), names)
    spec = {"type": "landmarks", "points": 2}
    _add(models, "points", "face", spec, ["face"], np.zeros((3, 6)), (1, 6), names)
    folder = models / "points"
    picture = ("image", (1, 3, _SIDE, _SIDE), "float32")
    outputs = [("points", (1, 6), "float32"), ("presence", (1, 1), "float32")]
    (folder / "model.onnx").write_bytes(onnx_file([picture], outputs, fill=_SIDE * 0.75))
    layers = [
        "Pooling mean 1 1 image mean 0=1 4=1",
        "Split means 1 2 mean mean_a mean_b",
        "InnerProduct points 1 1 mean_a points 0=6 1=1 2=18",
        "InnerProduct presence 1 1 mean_b presence 0=1 1=1 2=3",
    ]
    place = np.full(6, _SIDE * 0.75)
    weights = [np.zeros(18), place, np.zeros(3), place[:1]]
    _write_ncnn(folder, layers, weights, biases=[1, 3])
    manifest = json.loads((folder / "model.json").read_text())
    manifest["engines"] = _engines(folder, "points", "presence")
    manifest["crops"] = {"detector": "marks", "start": 0, "end": 1, "angle": 0, "scale": 1.5}
    (folder / "model.json").write_text(json.dumps(manifest))
    return "points"


def add_hanging(models: Path, engine: str) -> str:
    """Add a color model that never finishes for red pictures."""
    return _add_troubled(models, "hanging", engine, _hanging, _hanging_in_ncnn)


def add_failing(models: Path, engine: str) -> str:
    """Add a color model that an engine fails to run for red pictures; see `FAILURES`."""
    return _add_troubled(models, "failing", engine, _failing, _failing_in_ncnn)


FAILURES = {"onnxruntime": "Gather", "ncnn": "not finite"}


def _add_troubled(
    models: Path,
    model_id: str,
    engine: str,
    graph: Callable[[NDArray[np.float32], tuple[int, ...]], bytes],
    in_ncnn: Callable[[Path, NDArray[np.float32]], None],
) -> str:
    """Add a color model with a trap in its graph for one engine only."""
    head = {"type": "classification", "classes": 3, "score": "softmax"}
    rows, labels = np.eye(3) * 8, ["red", "green", "blue"]
    trapped = graph if engine == "onnxruntime" else None
    _add(models, model_id, "classification", head, labels, rows, (1, 3), graph=trapped)
    if engine == "ncnn":
        folder = models / model_id
        in_ncnn(folder, rows.astype(np.float32))
        manifest = json.loads((folder / "model.json").read_text())
        manifest["engines"] = _engines(folder, "answer")
        (folder / "model.json").write_text(json.dumps(manifest))
    return model_id


def body(name: str) -> NDArray[np.float64]:
    """Return y, x and score [17, 3] of COCO's keypoints of a body."""
    shoulders, hips, knees, ankles = _BODIES[name]
    middles = {"shoulder": shoulders, "hip": hips, "knee": knees, "ankle": ankles}
    points = []
    for keypoint in COCO_KEYPOINTS:
        x, y = middles.get(keypoint.rpartition("_")[2], shoulders)
        points.append((y, x + (0.02 if keypoint.startswith("left") else -0.02), 0.9))
    return np.array(points)


def let_batch(models: Path, model_id: str) -> None:
    """Let a model accept any number of pictures at once."""
    folder = models / model_id
    manifest = json.loads((folder / "model.json").read_text())
    rows, shape = _ROWS[model_id]
    (folder / "model.onnx").write_bytes(_onnx(rows, (-1, *shape[1:]), batch="N"))
    manifest["engines"] = {"onnxruntime": _engines(folder, "answer")["onnxruntime"]}
    (folder / "model.json").write_text(json.dumps(manifest))


def keep_engine(folder: Path, engine: str) -> None:
    """Remove the files for all engines except one."""
    manifest = json.loads((folder / "model.json").read_text())
    manifest["engines"] = {engine: manifest["engines"][engine]}
    (folder / "model.json").write_text(json.dumps(manifest))


def relabel(folder: Path, labels: Sequence[str], **changes: Any) -> None:
    """Change the labels of a model, its `model_id` and other fields of its manifest."""
    (folder / "labels.txt").write_text("\n".join(labels) + "\n", "utf-8")
    manifest = json.loads((folder / "model.json").read_text())
    manifest["labels"] = _file(folder / "labels.txt")
    manifest["id"] = changes.pop("model_id", manifest["id"])
    manifest.update(changes)
    (folder / "model.json").write_text(json.dumps(manifest))


_ROWS: dict[str, tuple[NDArray[np.float32], tuple[int, ...]]] = {}


def _add(
    models: Path,
    model_id: str,
    task: str,
    head: Mapping[str, Any],
    labels: Sequence[str],
    rows: NDArray[np.float64],
    shape: tuple[int, ...],
    keypoints: Sequence[str] = (),
    graph: Callable[[NDArray[np.float32], tuple[int, ...]], bytes] | None = None,
) -> str:
    folder = models / model_id
    folder.mkdir(parents=True)
    _ROWS[model_id] = rows.astype(np.float32), shape
    content = (graph or _colours)(rows.astype(np.float32), shape)
    (folder / "model.onnx").write_bytes(content)
    _colours_in_ncnn(folder, rows.astype(np.float32), shape)
    (folder / "labels.txt").write_text("\n".join(labels) + "\n")
    manifest = {
        "schema": 1,
        "id": model_id,
        "version": "1.0.0",
        "name": model_id.capitalize(),
        "task": task,
        "input": {
            "width": _SIDE,
            "height": _SIDE,
            "layout": "NCHW",
            "colour": "RGB",
            "resize": "stretch",
            "mean": [0, 0, 0],
            "scale": [1 / 255] * 3,
        },
        "head": head,
        "labels": _file(folder / "labels.txt"),
        "engines": _engines(folder, "answer"),
        "license": "Apache-2.0",
        "source": "made for tests",
        "keypoints": list(keypoints),
    }
    (folder / "model.json").write_text(json.dumps(manifest))
    return model_id


def _file(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"path": path.name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _engines(folder: Path, *outputs: str) -> dict[str, Any]:
    """Return the entry in the manifest for the existing files."""
    files = {
        "onnxruntime": {"model": _file(folder / "model.onnx")},
        "ncnn": {"param": _file(folder / "model.param"), "bin": _file(folder / "model.bin")},
    }
    return {
        engine: {"files": specs, "inputs": ["image"], "outputs": list(outputs)}
        for engine, specs in files.items()
    }


# --- ncnn: a line for each layer, and the weights one after the other -------------------------


def _colours_in_ncnn(folder: Path, rows: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    sides = " ".join(f"{number}={side}" for number, side in enumerate(reversed(shape[1:])))
    layers = [
        "Pooling mean 1 1 image mean 0=1 4=1",
        f"InnerProduct flat 1 1 mean flat 0={rows.shape[1]} 1=0 2={rows.size}",
        f"Reshape answer 1 1 flat answer {sides}",
    ]
    _write_ncnn(folder, layers, [rows.T])


def _hanging_in_ncnn(folder: Path, rows: NDArray[np.float32]) -> None:
    # Repeatedly takes as many samples in a region as red makes it wide and high: this takes
    # minutes.
    steps = 500
    reds, pixels = [f"red_{n}" for n in range(steps)], [f"pixels_{n}" for n in range(steps + 1)]
    layers = [
        f"Split images 1 2 image image_a {pixels[0]}",
        "Pooling mean 1 1 image_a mean 0=1 4=1",
        *_TWO_WAYS,
        "InnerProduct redder 1 1 mean_b redder 0=4 1=0 2=12",
        "ReLU red 1 1 redder red",
        f"Split reds 1 {steps} red {' '.join(reds)}",
        *(
            f"ROIAlign {after} 2 1 {before} {red} {after} 0={_SIDE} 1={_SIDE} 2=1.0 3=0 4=0 5=0"
            for red, before, after in zip(reds, pixels, pixels[1:], strict=False)
        ),
        f"Pooling region 1 1 {pixels[-1]} region 0=1 4=1",
        "InnerProduct nothing 1 1 region nothing 0=3 1=0 2=9",
        "BinaryOp answer 2 1 flat nothing answer 0=0",
    ]
    wide = np.array([(0, 0, 0), (0, 0, 0), (2e3, -2e3, -2e3), (2e3, -2e3, -2e3)])
    _write_ncnn(folder, layers, [rows.T, wide, np.zeros(9)])


def _failing_in_ncnn(folder: Path, rows: NDArray[np.float32]) -> None:
    # The logarithm of a number that is negative for red.
    layers = [
        "Pooling mean 1 1 image mean 0=1 4=1",
        *_TWO_WAYS,
        "InnerProduct redder 1 1 mean_b redder 0=3 1=0 2=9",
        "ReLU red 1 1 redder red",
        "InnerProduct less 1 1 red less 0=3 1=1 2=9",
        "UnaryOp log 1 1 less log 0=8",
        "BinaryOp answer 2 1 flat log answer 0=0",
    ]
    redder, less = np.array([(2, -2, -2)] * 3), -np.eye(3)
    _write_ncnn(folder, layers, [rows.T, redder, less, np.ones(3)], biases=[3])


# The normal output, `flat`, and `mean_b` for the result of the trap for the mean color.
_TWO_WAYS = (
    "Split means 1 2 mean mean_a mean_b",
    "InnerProduct flat 1 1 mean_a flat 0=3 1=0 2=9",
)


def _write_ncnn(
    folder: Path,
    layers: Sequence[str],
    weights: Iterable[NDArray[Any]],
    biases: Collection[int] = (),
) -> None:
    """Write the two files of a network; `biases`: the arrays that are biases, without a tag."""
    lines = [f"Input image 0 1 image 0={_SIDE} 1={_SIDE} 2=3", *layers]
    blobs = {name for line in lines for name in line.split()[4:] if "=" not in name}
    text = "\n".join(["7767517", f"{len(lines)} {len(blobs)}", *lines])
    (folder / "model.param").write_text(f"{text}\n")
    data = b""
    for number, array in enumerate(weights):
        tag = b"" if number in biases else bytes(4)
        data += tag + array.astype(np.float32).tobytes()
    (folder / "model.bin").write_bytes(data)


# --- Just enough of ONNX's protocol buffers (onnx.proto) to write such a graph ----------------

_FLOAT, _INT64, _BOOL = 1, 7, 9
_ATTRIBUTE_INT, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTS = 2, 5, 7


def _colours(rows: NDArray[np.float32], shape: tuple[int, ...]) -> bytes:
    return _onnx(rows, shape)


def _hanging(rows: NDArray[np.float32], shape: tuple[int, ...]) -> bytes:
    # A loop whose number of iterations is proportional to the red in the picture.
    body = b"".join(
        (
            _bytes(1, _node("Identity", ["more"], "more on")),
            _bytes(1, _node("Identity", ["carried"], "carried on")),
            _bytes(2, b"body"),
            _bytes(11, _value("round", (), _INT64)),
            _bytes(11, _value("more", (), _BOOL)),
            _bytes(11, _value("carried", shape)),
            _bytes(12, _value("more on", (), _BOOL)),
            _bytes(12, _value("carried on", shape)),
        )
    )
    attribute = _bytes(1, b"body") + _bytes(6, body) + _varint(20, _ATTRIBUTE_GRAPH)
    nodes = [
        _node("MatMul", ["mean", "how much"], "redder"),
        _node("Relu", ["redder"], "red"),
        _node("Cast", ["red"], "number", to=_INT64),
        _node("Reshape", ["number", "scalar"], "rounds"),
        _node("Loop", ["rounds", "", "flat"], "looped") + _bytes(5, attribute),
    ]
    tensors = [
        _tensor("how much", np.array([[1e15], [-1e15], [-1e15]], dtype=np.float32)),
        _tensor("scalar", np.array([], dtype=np.int64)),
    ]
    return _onnx(rows, shape, nodes, "looped", tensors)


def _failing(rows: NDArray[np.float32], shape: tuple[int, ...]) -> bytes:
    # For red, the index in a table is beyond its end.
    nodes = [
        _node("MatMul", ["mean", "how much"], "redder"),
        _node("Relu", ["redder"], "red"),
        _node("Cast", ["red"], "number", to=_INT64),
        _node("Reshape", ["number", "one"], "index"),
        _node("Gather", ["table", "index"], "picked"),
        _node("Add", ["flat", "picked"], "sum"),
    ]
    tensors = [
        _tensor("how much", np.array([[100], [-100], [-100]], dtype=np.float32)),
        _tensor("one", np.array([1], dtype=np.int64)),
        _tensor("table", np.zeros((1, 3), dtype=np.float32)),
    ]
    return _onnx(rows, shape, nodes, "sum", tensors)


def _onnx(
    rows: NDArray[np.float32],
    shape: tuple[int, ...],
    more_nodes: Iterable[bytes] = (),
    last: str = "flat",
    more_tensors: Iterable[bytes] = (),
    batch: int | str = 1,
) -> bytes:
    nodes = [
        _node("ReduceMean", ["image"], "mean", axes=[2, 3], keepdims=0),
        _node("MatMul", ["mean", "rows"], "flat"),
        *more_nodes,
        _node("Reshape", [last, "shape"], "answer"),
    ]
    tensors = [
        _tensor("rows", rows),
        _tensor("shape", np.array(shape, dtype=np.int64)),
        *more_tensors,
    ]
    graph = b"".join(
        (
            *(_bytes(1, node) for node in nodes),
            _bytes(2, b"graph"),
            *(_bytes(5, tensor) for tensor in tensors),
            _bytes(11, _value("image", (batch, 3, _SIDE, _SIDE))),
            _bytes(12, _value("answer", (batch, *shape[1:]))),
        )
    )
    opset = _bytes(1, b"") + _varint(2, 13)
    return _varint(1, 8) + _bytes(7, graph) + _bytes(8, opset)


def _node(kind: str, inputs: Iterable[str], output: str, **attributes: int | list[int]) -> bytes:
    return b"".join(
        (
            *(_bytes(1, name.encode()) for name in inputs),
            _bytes(2, output.encode()),
            _bytes(4, kind.encode()),
            *(_bytes(5, _attribute(name, value)) for name, value in attributes.items()),
        )
    )


def _attribute(name: str, value: int | list[int]) -> bytes:
    named = _bytes(1, name.encode())
    if isinstance(value, int):
        return named + _varint(3, value) + _varint(20, _ATTRIBUTE_INT)
    return named + b"".join(_varint(8, item) for item in value) + _varint(20, _ATTRIBUTE_INTS)


def _tensor(name: str, values: NDArray[Any]) -> bytes:
    kind = _INT64 if values.dtype == np.int64 else _FLOAT
    sizes = b"".join(_varint(1, size) for size in values.shape)
    return sizes + _varint(2, kind) + _bytes(8, name.encode()) + _bytes(9, values.tobytes())


def _value(name: str, shape: Iterable[int | str], kind: int = _FLOAT) -> bytes:
    sizes = b"".join(
        _bytes(1, _bytes(2, size.encode()) if isinstance(size, str) else _varint(1, size))
        for size in shape
    )
    tensor = _varint(1, kind) + _bytes(2, sizes)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))


def _varint(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _number(field << 3 | 2) + _number(len(value)) + value


def _number(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded += struct.pack("B", value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded) + struct.pack("B", value)
