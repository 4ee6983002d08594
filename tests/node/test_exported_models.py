"""Models in all forms of exporting tools: the same object is found with each of them.

Each model returns one box of "bolt" for every picture, at 36 to 60 of 96 pixels, with 90 %.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edge_vision_node.detections import FILLS, Detections, Placement
from edge_vision_node.errors import InferenceError, ModelError
from edge_vision_node.library.inspection.clues import PictureInput, find_picture
from edge_vision_node.library.inspection.guess import Guess
from edge_vision_node.library.inspection.recognise import further_inputs, recognise
from edge_vision_node.models.formats.reading import read_model_file
from edge_vision_node.models.heads import build_head
from edge_vision_node.workers.child import _describe_output
from numpy.typing import NDArray
from PIL import Image

from tests.engines import needs
from tests.onnx_files import Tensor, answering

from .inspection import Bench

SIDE = 96
CELLS = 12 * 12 + 6 * 6 + 3 * 3
NAMES = "{0: 'nut', 1: 'bolt', 2: 'washer'}"
META = {"names": NAMES, "task": "detect"}
LABELS = ("nut", "bolt", "washer")
BOX = (36, 36, 60, 60)
BOX_NAMES = ("x_min", "y_min", "x_max", "y_max")
CENTRED = (48, 48, 24, 24)
PICTURE: list[Tensor] = [("images", (1, 3, SIDE, SIDE), "float32")]
OPEN: list[Tensor] = [("images", (None, 3, SIDE, SIDE), "float32")]
PADDLE: list[Tensor] = [
    ("im_shape", (1, 2), "float32"),
    ("image", (1, 3, SIDE, SIDE), "float32"),
    ("scale_factor", (1, 2), "float32"),
]
UINT8: list[Tensor] = [("images", (1, 3, SIDE, SIDE), "uint8")]
NHWC: list[Tensor] = [("input_tensor", (1, SIDE, SIDE, 3), "uint8")]

Answers = Mapping[str, NDArray[Any]]


def floats(*rows: Sequence[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def padded(rows: NDArray[np.float32], count: int, fill: float = 0.0) -> NDArray[np.float32]:
    """Rows as exports with a fixed number of them have them: [1, count, …]."""
    whole = np.full((count, *rows.shape[1:]), fill, np.float32)
    whole[: len(rows)] = rows
    return whole[np.newaxis]


def cells(
    *row: float, rows: int = CELLS, others: Sequence[float] = (10, 10, 5, 5)
) -> NDArray[np.float32]:
    """A row for each cell, one of which contains an object: [1, rows, numbers]."""
    table = np.full((1, rows, len(row)), 0.01, np.float32)
    table[0, :, : len(others)] = others
    table[0, rows // 2] = row
    return table


def logits(*scores: float) -> list[float]:
    return [float(np.log(score / (1 - score))) for score in scores]


V8 = cells(*CENTRED, 0.02, 0.9, 0.02)
V5 = cells(*CENTRED, 0.95, 0.02, 0.948, 0.02, rows=3 * CELLS)
ROW = floats((*BOX, 0.9, 1))
SHARES = tuple(value / SIDE for value in BOX)

RAW_GRIDS = {f"{350 + side}": np.full((1, 3, side, side, 8), -3, np.float32) for side in (12, 6, 3)}
V8_GRIDS = {f"feature_{side}": np.zeros((1, 67, side, side), np.float32) for side in (12, 6, 3)}

# name → (inputs, outputs, metadata, declared shapes, head)
CASES: dict[str, tuple[list[Tensor], Answers, Mapping[str, str], Mapping[str, Any], str]] = {
    # --- grids -----------------------------------------------------------------------------------
    "YOLOv8": (PICTURE, {"output0": V8.transpose(0, 2, 1).copy()}, META, {}, "yolov8"),
    "YOLOv8, transposed": (PICTURE, {"output0": V8}, META, {}, "yolov8"),
    "YOLOv8, transposed, without metadata": (PICTURE, {"o": V8}, {}, {}, "yolov8"),
    "YOLOv8, four sides": (
        PICTURE,
        {"output0": V8.transpose(0, 2, 1)[..., np.newaxis].copy()},
        META,
        {},
        "yolov8",
    ),
    "YOLOv8, transposed, four sides": (PICTURE, {"o": V8[:, np.newaxis]}, META, {}, "yolov8"),
    "YOLOv8 with its grids": (
        PICTURE,
        {"output0": V8.transpose(0, 2, 1).copy(), **V8_GRIDS},
        META,
        {},
        "yolov8",
    ),
    "YOLOv8, normalised and transposed": (
        PICTURE,
        {"Identity": cells(0.5, 0.5, 0.25, 0.25, 0, 0.9, 0, others=(0.1, 0.1, 0.1, 0.1))},
        {},
        {},
        "yolov8",
    ),
    "YOLOv8, two sides": (PICTURE, {"output0": V8[0].T.copy()}, META, {}, "yolov8"),
    "RT-DETR by Ultralytics": (
        PICTURE,
        {"output0": padded(floats((0.5, 0.5, 0.25, 0.25, 0.02, 0.9, 0.02)), 300, 0.01)},
        META,
        {},
        "yolov8",
    ),
    "YOLOv5": (PICTURE, {"output0": V5}, {"names": NAMES, "stride": "32"}, {}, "yolov5"),
    "YOLOv5 with its grids": (
        PICTURE,
        {"output": V5, **RAW_GRIDS},
        {"names": NAMES},
        {},
        "yolov5",
    ),
    "YOLOv7 with its grids first": (
        PICTURE,
        {**RAW_GRIDS, "output": V5},
        {"names": NAMES},
        {},
        "yolov5",
    ),
    "YOLOv6": (
        PICTURE,
        {"outputs": cells(*CENTRED, 1, 0.02, 0.9, 0.02, others=(10, 10, 5, 5, 1))},
        {},
        {},
        "yolov5",
    ),
    "YOLOX, decoded": (
        PICTURE,
        {"output": cells(*CENTRED, 0.95, 0.02, 0.948, 0.02)},
        {"names": NAMES},
        {},
        "yolox",
    ),
    # --- rows ------------------------------------------------------------------------------------
    "YOLOv10": (PICTURE, {"output0": padded(ROW, 300)}, META, {}, "end_to_end"),
    "YOLO26, open batch": (
        OPEN,
        {"output0": padded(ROW, 300)},
        META,
        {"output0": ("any", 300, 6)},
        "end_to_end",
    ),
    "rows without a batch": (PICTURE, {"output0": padded(ROW, 300)[0]}, META, {}, "end_to_end"),
    "rows, as many as there are": (
        PICTURE,
        {"output": ROW},
        META,
        {"output": ("rows", 6)},
        "end_to_end",
    ),
    "rows with the class before the score": (
        PICTURE,
        {"output": floats((*BOX, 1, 0.9))},
        META,
        {"output": ("rows", 6)},
        "end_to_end",
    ),
    "rows, four sides": (
        PICTURE,
        {"output": padded(ROW, 100)[:, np.newaxis]},
        META,
        {},
        "end_to_end",
    ),
    "YOLOv7 with suppression": (
        PICTURE,
        {"output": floats((0, *BOX, 1, 0.9), (0, *BOX, 0, 0.1))},
        {},
        {"output": ("rows", 7)},
        "end_to_end",
    ),
    "YOLO-NAS, flat": (
        UINT8,
        {"graph2_flat_predictions": floats((0, *BOX, 0.9, 1))},
        {},
        {"graph2_flat_predictions": ("rows", 7)},
        "end_to_end",
    ),
    "YOLO-NAS, flat, as many pictures as one likes": (
        OPEN,
        {"flat_predictions": floats((0, *BOX, 0.9, 1), (0, *BOX, 0.2, 2))},
        {},
        {"flat_predictions": ("rows", 7)},
        "end_to_end",
    ),
    "PaddleDetection": (
        PADDLE,
        {
            "multiclass_nms3_0.tmp_0": floats((1, 0.9, *BOX), (-1, -1, 0, 0, 0, 0)),
            "multiclass_nms3_0.tmp_2": np.array([1], np.int32),
        },
        {},
        {"multiclass_nms3_0.tmp_0": ("rows", 6)},
        "end_to_end",
    ),
    "OpenVINO's DetectionOutput": (
        PICTURE,
        {
            "detection_out": padded(floats((0, 2, 0.9, *SHARES), (-1, 0, 0, 0, 0, 0, 0)), 200)[
                :, None
            ]
        },
        {},
        {},
        "end_to_end",
    ),
    # As many numbers as RT-DETR has for three classes, and rows as it has queries.
    "DetectionOutput of a hundred rows": (
        PICTURE,
        {"output": padded(floats((0, 2, 0.9, *SHARES)), 100)},
        {},
        {},
        "end_to_end",
    ),
    # --- tensors of their own --------------------------------------------------------------------
    "EfficientNMS": (
        PICTURE,
        {
            "num_dets": np.array([[1]], np.int32),
            "det_boxes": padded(floats(BOX), 100),
            "det_scores": padded(floats(0.9).reshape(1), 100),
            "det_classes": padded(floats(1).reshape(1), 100).astype(np.int32),
        },
        META,
        {},
        "finished",
    ),
    "BatchedNMS, in another order": (
        PICTURE,
        {
            "nmsed_classes": padded(floats(1).reshape(1), 100),
            "nmsed_boxes": padded(floats(SHARES), 100),
            "nmsed_scores": padded(floats(0.9).reshape(1), 100),
            "num_detections": np.array([[1]], np.int32),
        },
        {},
        {},
        "finished",
    ),
    "YOLO-NAS, batch": (
        UINT8,
        {
            "graph2_num_predictions": np.array([[1]], np.int64),
            "graph2_pred_boxes": padded(floats(BOX), 50),
            "graph2_pred_scores": padded(floats(0.9).reshape(1), 50),
            "graph2_pred_classes": padded(floats(1).reshape(1), 50).astype(np.int64),
        },
        {},
        {},
        "finished",
    ),
    "MMDeploy": (
        PICTURE,
        {
            "dets": padded(floats((*BOX, 0.9)), 100),
            "labels": padded(floats(1).reshape(1), 100, -1).astype(np.int64),
        },
        {},
        {},
        "finished",
    ),
    "boxes with scores, and labels, without a batch": (
        PICTURE,
        {"boxes": floats((*BOX, 0.9), (*BOX, 0.1)), "labels": np.array([1, 1], np.int64)},
        {},
        {"boxes": ("rows", 5), "labels": ("rows",)},
        "finished",
    ),
    "TorchVision": (
        PICTURE,
        {
            "boxes": floats(BOX, (1, 1, 9, 9)),
            "labels": np.array([2, 1], np.int64),
            "scores": floats((0.9, 0.1))[0],
        },
        {},
        {"boxes": ("n", 4), "labels": ("n",), "scores": ("n",)},
        "finished",
    ),
    "TensorFlow's API": (
        NHWC,
        {
            "detection_anchor_indices": padded(floats(3).reshape(1), 100),
            "detection_boxes": padded(floats(SHARES), 100),
            "detection_classes": padded(floats(2).reshape(1), 100, 1),
            "detection_multiclass_scores": padded(floats((0.05, 0.02, 0.9, 0.03)), 100),
            "detection_scores": padded(floats(0.9).reshape(1), 100),
            "num_detections": np.array([100], np.float32),
            "raw_detection_boxes": padded(floats(SHARES), 1917),
            "raw_detection_scores": padded(floats((0.05, 0.02, 0.9, 0.03)), 1917),
        },
        {},
        {},
        "finished",
    ),
    "four tensors without names, pixels": (
        PICTURE,
        {
            "101": padded(floats(BOX), 100),
            "102": padded(floats(0.9).reshape(1), 100),
            "100": np.array([[1]], np.int32),
            "103": padded(floats(1, 2).reshape(2), 100),
        },
        META,
        {},
        "finished",
    ),
    "four tensors without names or a batch": (
        NHWC,
        {
            "Identity": padded(floats(SHARES), 100)[0],
            "Identity_1": padded(floats(1, 2).reshape(2), 100)[0],
            "Identity_2": padded(floats(0.9).reshape(1), 100)[0],
            "Identity_3": floats(1).ravel(),
        },
        META,
        {},
        "ssd_postprocess",
    ),
    "MMDeploy, classes as floats": (
        PICTURE,
        {"1": padded(floats(1, 2).reshape(2), 100), "2": padded(floats((*BOX, 0.9)), 100)},
        {},
        {},
        "finished",
    ),
    "RT-DETR without names, classes as floats": (
        [*PICTURE, ("orig_target_sizes", (1, 2), "int64")],
        {
            "8": padded(floats(1, 2).reshape(2), 300),
            "9": padded(floats(BOX), 300),
            "10": padded(floats(0.9).reshape(1), 300),
        },
        {},
        {},
        "detr",
    ),
    "RT-DETR without the picture's size": (
        PICTURE,
        {
            "labels": padded(floats(1).reshape(1), 300).astype(np.int64),
            "boxes": padded(floats(BOX), 300),
            "scores": padded(floats(0.9).reshape(1), 300),
        },
        {},
        {},
        "finished",
    ),
    "RT-DETR": (
        [*PICTURE, ("orig_target_sizes", (1, 2), "int64")],
        {
            "labels": padded(floats(1).reshape(1), 300).astype(np.int64),
            "boxes": padded(floats(BOX), 300),
            "scores": padded(floats(0.9).reshape(1), 300),
        },
        {},
        {},
        "detr",
    ),
    # --- boxes and scores for each cell ----------------------------------------------------------
    "YOLO-NAS, a small picture": (
        PICTURE,
        {
            "boxes": padded(floats(BOX), CELLS),
            "scores": padded(floats((0.02, 0.9, 0.02)), CELLS),
        },
        {},
        {},
        "yolo_nas",
    ),
    "YOLO-NAS": (
        PICTURE,
        {
            "boxes": padded(floats(BOX), 1029),
            "scores": padded(floats((0.02, 0.9, 0.02)), 1029),
        },
        {},
        {},
        "yolo_nas",
    ),
    "DAMO-YOLO": (
        PICTURE,
        {
            "output": padded(floats((0.02, 0.9, 0.02)), 1029),
            "972": padded(floats(BOX), 1029),
        },
        {},
        {},
        "yolo_nas",
    ),
    "PP-YOLOE without suppression": (
        [PADDLE[1], PADDLE[2]],
        {
            "tmp_16": padded(floats(BOX), CELLS),
            "concat_14": padded(floats((0.02, 0.9, 0.02)), CELLS).transpose(0, 2, 1).copy(),
        },
        {},
        {},
        "yolo_nas",
    ),
    "RF-DETR with four classes": (
        PICTURE,
        {
            "dets": padded(floats((0.5, 0.5, 0.25, 0.25)), 300, 0.1),
            "labels": padded(floats((*logits(0.02, 0.9, 0.02), -5)), 300, -5),
        },
        {},
        {},
        "detr",
    ),
}


def recognised(folder: Path, name: str, labels: tuple[str, ...]) -> tuple[Guess, PictureInput]:
    inputs, answers, metadata, declared, _ = CASES[name]
    path = folder / "mine.onnx"
    path.write_bytes(answering(inputs, answers, metadata, declared))
    content = read_model_file(path)
    picture = find_picture(content, content.metadata)
    further_inputs(content, picture)
    probed = tuple(
        _describe_output(answers[tensor.name].astype(np.float32)) for tensor in content.outputs
    )
    given = [labels] if labels and "names" not in metadata else []
    return recognise(content, picture, probed, given), picture


@pytest.mark.parametrize("name", CASES)
def test_what_is_exported_finds_what_it_finds(tmp_path: Path, name: str) -> None:
    guess, picture = recognised(tmp_path, name, LABELS)
    assert (guess.task, guess.head["type"]) == ("detection", CASES[name][-1])
    assert guess.labels[:3] == LABELS
    head = build_head(guess.head, (picture.width, picture.height))
    found = head([CASES[name][1][output].astype(np.float32) for output in guess.outputs], 0.4)
    assert isinstance(found, Detections)
    assert [guess.labels[i] for i in found.class_ids] == ["bolt"]
    np.testing.assert_allclose(found.scores, [0.9], atol=0.002)
    np.testing.assert_allclose(found.boxes, [SHARES], atol=0.002)


@pytest.mark.parametrize("name", CASES)
def test_without_labels_it_is_a_detector_all_the_same(tmp_path: Path, name: str) -> None:
    """Another family may be more likely then, but the result says that it is a guess."""
    guess, _ = recognised(tmp_path, name, ())
    assert guess.task == "detection"
    assert guess.head["type"] == CASES[name][-1] or any("could also" in r for r in guess.reasons)


def grid_centres() -> NDArray[np.float32]:
    """The center of each cell in pixels: [CELLS, 2]."""
    return np.concatenate(
        [
            np.stack(np.meshgrid(*[np.arange(SIDE // s) * s + s / 2] * 2), -1).reshape(-1, 2)
            for s in (8, 16, 32)
        ]
    ).astype(np.float32)


def cells_of(family: str, classes: int) -> NDArray[np.float32]:
    """Outputs with the typical numbers of a trained model: [1, CELLS, columns]."""
    dice = np.random.default_rng(classes)
    scores = dice.beta(0.1, 200, (CELLS, classes))  # nearly zero without an object
    scores[7, 0] = 0.9
    centres = grid_centres() + dice.normal(0, 4, (CELLS, 2))
    sides = dice.uniform(4, 60, (CELLS, 2))
    if family == "yolov8":
        table = np.hstack([centres, sides, scores])
    elif family == "yolov8 in shares":
        table = np.hstack([centres.clip(0, SIDE) / SIDE, sides / SIDE, scores])
    else:
        # An objectness, and classes that were not trained for the background.
        objectness, scores = scores[:, :1], dice.beta(0.4, 0.8 * classes, (CELLS, classes))
        if family == "yolox":
            sides = dice.normal(1, 0.8, (CELLS, 2))
            centres = dice.normal(0.5, 0.7, (CELLS, 2))
        table = np.hstack([centres, sides, objectness, scores])
    return table[np.newaxis].astype(np.float32)


@pytest.mark.parametrize("classes", [1, 3, 20, 79, 80, 81])
@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("yolov8", {"type": "yolov8", "transposed": True}),
        ("yolov8 in shares", {"type": "yolov8", "transposed": True, "normalised": True}),
        ("yolox", {"type": "yolox"}),
        ("yolox, decoded", {"type": "yolox", "decoded": True}),
    ],
)
def test_numbers_tell_whether_cells_have_an_objectness(
    tmp_path: Path, family: str, head: dict[str, Any], classes: int
) -> None:
    """Without labels and metadata, there is no other indication."""
    answers = {"out": cells_of(family, classes)}
    path = tmp_path / "mine.onnx"
    path.write_bytes(answering(PICTURE, answers))
    content = read_model_file(path)
    probed = tuple(map(_describe_output, answers.values()))
    guess = recognise(content, find_picture(content, {}), probed)
    assert {**head, "classes": classes}.items() <= guess.head.items()


@needs("onnxruntime")
@pytest.mark.parametrize(
    "name", ["YOLOv8, transposed, four sides", "YOLO-NAS, flat", "EfficientNMS", "PaddleDetection"]
)
async def test_an_exported_model_is_added_and_used(bench: Bench, name: str) -> None:
    inputs, answers, metadata, declared, family = CASES[name]
    path, labels = bench.folder / "mine.onnx", bench.folder / "mine.txt"
    path.write_bytes(answering(inputs, answers, metadata, declared))
    labels.write_text("\n".join(LABELS) + "\n")
    picture = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(picture, "PNG")
    found = await bench.look(path, labels=labels, picture=picture.getvalue(), save_as="mine")
    assert found.problem is None
    assert found.proposal is not None and found.findings is not None
    assert found.proposal.family == family
    (thing,) = found.findings.objects
    assert (thing.label, round(thing.confidence)) == ("bolt", 90)
    assert (thing.box.x_min, thing.box.y_max) == SHARES[1:3]
    assert found.saved is not None


# --- What cannot be used, and what contradicts itself ---------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "answers", "metadata", "reason"),
    [
        (
            [("images", (4, 3, SIDE, SIDE), "float32")],
            {"output0": np.zeros((4, 7, CELLS), np.float32)},
            META,
            "needs 4 pictures at once",
        ),
        (PICTURE, RAW_GRIDS, META, "are raw grids"),
        (
            PICTURE,
            {
                "output0": padded(np.zeros((1, 38), np.float32), 300),
                "p": np.zeros((1, 32, 24, 24), np.float32),
            },
            {**META, "task": "segment"},
            "segments instances",
        ),
        (
            PICTURE,
            {"output0": padded(floats((*BOX, 0.9, 1, 0.5)), 300)},
            {**META, "task": "obb"},
            "rotated boxes",
        ),
        # Eight channels would mean four classes, or three for YOLOX, but the file names five.
        (
            PICTURE,
            {"output0": np.zeros((1, CELLS, 8), np.float32)},
            {"task": "detect", "names": "['a', 'b', 'c', 'd', 'e']"},
            "its metadata says that it has 5 labels",
        ),
        # An angle after the scores, without any metadata.
        (
            PICTURE,
            {"output0": np.zeros((1, 8, CELLS), np.float32)},
            {"names": NAMES},
            "its metadata says that it has 3 labels",
        ),
        (
            PICTURE,
            {
                "boxes": floats(BOX),
                "labels": np.array([1], np.int64),
                "scores": floats((0.9,))[0],
                "masks": np.zeros((1, 1, 28, 28), np.float32),
            },
            {},
            "segments instances",
        ),
        (
            PICTURE,
            {"output0": np.zeros((1, 39, CELLS), np.float32)},
            {"names": "{0: 'person'}", "task": "pose", "kpt_shape": "[17, 2]"},
            "have no visibility",
        ),
        (PICTURE, {}, {}, "models: none"),
        (PICTURE, {"output0": V8}, {**META, "task": "classify"}, "says that it is for 'classify'"),
    ],
)
def test_what_cannot_be_used_says_why(
    tmp_path: Path,
    inputs: list[Tensor],
    answers: Answers,
    metadata: Mapping[str, str],
    reason: str,
) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(answering(inputs, answers, metadata))
    content = read_model_file(path)
    with pytest.raises(ModelError, match=reason):
        recognise(content, find_picture(content, content.metadata), (), ())


@pytest.mark.parametrize(
    ("shape", "labels", "family"),
    [
        ((1, CELLS, 8), ("a", "b", "c"), "yolox"),
        ((1, CELLS, 8), ("a", "b", "c", "d"), "yolov8"),
        ((1, CELLS, 85), (), "yolox"),
        ((1, CELLS, 84), (), "yolov8"),
        ((1, 300, 84), (), "yolov8"),
        ((1, 300, 57), ("person",), "end_to_end"),
        ((1, 6), ("a", "b", "c", "d", "e", "f"), "classification"),
        ((1, 7), (), "classification"),
        ((1, 300, 6), (), "end_to_end"),
    ],
)
def test_labels_decide_between_families(
    tmp_path: Path, shape: tuple[int, ...], labels: tuple[str, ...], family: str
) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(answering(PICTURE, {"output": np.zeros(shape, np.float32)}))
    content = read_model_file(path)
    given = [labels] if labels else []
    guess = recognise(content, find_picture(content, content.metadata), (), given)
    assert guess.head["type"] == family


# Every object has the only class; the other class scores of YOLOX are untrained.
V1 = np.maximum(cells(*CENTRED, 0.95, 0.948), floats((0, 0, 0, 0, 0, 0.3)))

ONE_CLASS: dict[str, tuple[Answers, Mapping[str, Any], str, str]] = {
    "rows of five": ({"o": floats((*BOX, 0.9))}, {"o": ("n", 5)}, "detection", "end_to_end"),
    "a hundred": ({"o": padded(floats((*BOX, 0.9)), 100)}, {}, "detection", "end_to_end"),
    "three hundred": ({"o": padded(floats((*BOX, 0.9)), 300)}, {}, "detection", "end_to_end"),
    "rows of six": ({"o": floats((*BOX, 0.9, 0))}, {"o": ("n", 6)}, "detection", "end_to_end"),
    "cells of five": ({"o": cells(*CENTRED, 0.9)}, {}, "detection", "yolov8"),
    "cells of six": ({"o": V1}, {}, "detection", "yolox"),
    "a pose": ({"o": cells(*CENTRED, 0.9, *[48, 48, 0.9] * 17)}, {}, "pose", "yolov8"),
}


@pytest.mark.parametrize("labels", [("bolt",), ()])
@pytest.mark.parametrize("name", ONE_CLASS)
def test_a_model_of_one_class_is_known(tmp_path: Path, name: str, labels: tuple[str, ...]) -> None:
    answers, declared, task, family = ONE_CLASS[name]
    path = tmp_path / "mine.onnx"
    path.write_bytes(answering(PICTURE, answers, {}, declared))
    content = read_model_file(path)
    probed = tuple(map(_describe_output, answers.values()))
    given = [labels] if labels else []
    guess = recognise(content, find_picture(content, content.metadata), probed, given)
    assert (guess.task, guess.head["type"]) == (task, family)
    found = build_head(guess.head, (SIDE, SIDE))(list(answers.values()), 0.4)
    assert isinstance(found, Detections)
    np.testing.assert_allclose(found.boxes, [SHARES], atol=0.002)
    assert found.class_ids.tolist() == [0]


def test_keypoints_are_not_made_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    meta = {"names": "{0: 'person'}", "task": "pose", "kpt_shape": "[5, 3]"}
    path.write_bytes(answering(PICTURE, {"output0": np.zeros((1, 300, 21), np.float32)}, meta))
    content = read_model_file(path)
    guess = recognise(content, find_picture(content, content.metadata), (), ())
    assert (guess.task, guess.head["keypoints"]) == ("pose", 5)


# --- Boxes that are none --------------------------------------------------------------------------

NONE = (
    (0.5, 0.2, 0.5, 0.8),
    (0.2, 0.5, 0.8, 0.5),
    (0.8, 0.2, 0.2, 0.8),
    (0.2, 0.8, 0.8, 0.2),
    (1.0, 1.0, 1.0, 1.0),
    (1.2, 0.2, 1.4, 0.4),
    (-0.4, 0.2, -0.2, 0.4),
    (0.2, 0.2, 0.20001, 0.8),
    (np.nan, 0.2, 0.4, 0.4),
    (0.2, 0.2, np.inf, 0.4),
    (-np.inf, -np.inf, np.inf, np.inf),
)


@pytest.mark.parametrize("box", NONE)
@pytest.mark.parametrize("placement", [FILLS, Placement(0.9, 0.9, 0.0, 0.0)])
def test_a_box_without_an_area_in_the_frame_is_no_find(
    box: tuple[float, ...], placement: Placement
) -> None:
    boxes = floats((0.1, 0.1, 0.3, 0.3), box)
    found = Detections(boxes, np.ones(2, np.float32), np.zeros(2, np.int32)).placed(placement)
    assert len(found) == 1


def test_what_lies_in_the_padding_is_no_find() -> None:
    below = Detections(floats((0.1, 0.8, 0.3, 0.9)), floats(0.9).ravel(), np.zeros(1, np.int32))
    assert len(below.placed(Placement(1.0, 0.75, 0.0, 0.0))) == 0


@pytest.mark.parametrize("size", [(-24, -24), (24, -24), (0, 24)])
def test_no_head_finds_a_box_of_no_size(size: tuple[float, float]) -> None:
    table = cells(48, 48, *size, 0.02, 0.9, 0.02)
    head = build_head({"type": "yolov8", "classes": 3, "transposed": True}, (SIDE, SIDE))
    found = head([table], 0.4)
    assert isinstance(found, Detections) and len(found) == 0


def test_boxes_that_are_none_do_not_crowd_out_the_others() -> None:
    rows = np.tile(floats((5, 5, 5, 5, 0.99, 0)), (200, 1))
    rows[-1] = (*BOX, 0.5, 1)
    head = build_head({"type": "end_to_end", "classes": 2}, (SIDE, SIDE))
    found = head([rows[np.newaxis]], 0.4)
    assert isinstance(found, Detections) and found.class_ids.tolist() == [1]


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "end_to_end", "classes": 3, "columns": ["score", "class"]},
        {"type": "end_to_end", "classes": 3, "columns": ["x_min"] * 6},
        {"type": "end_to_end", "classes": 3, "class_ids": [3]},
        {
            "type": "end_to_end",
            "classes": 3,
            "columns": ["x_min", "y_min", "x_max", "y_max", "score"],
        },
        {"type": "finished", "classes": 3, "parts": ["boxes", "scores"]},
        {"type": "finished", "classes": 3, "parts": ["boxes", "boxes", "scores", "classes"]},
        {"type": "finished", "classes": 3, "box": "xywh"},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        build_head(spec, (SIDE, SIDE))


def test_more_rows_in_use_than_there_are_is_an_error() -> None:
    parts = ["count", "boxes", "scores", "classes"]
    head = build_head({"type": "finished", "classes": 3, "parts": parts}, (SIDE, SIDE))
    boxes, ones = padded(floats(BOX), 5), np.ones((1, 5), np.float32)
    boxes[0, 3:] = np.nan  # beyond the count
    found = head([floats(1), boxes, ones, ones], 0.4)
    assert isinstance(found, Detections) and len(found) == 1
    for count in (6, -1, np.nan):
        with pytest.raises(InferenceError, match=r"number of detections .* is invalid"):
            head([floats(count), boxes, ones, ones], 0.4)
