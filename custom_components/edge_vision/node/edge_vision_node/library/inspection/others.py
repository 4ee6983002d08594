"""Recognizes other models: poses, faces, classes, embeddings, segmentation."""

from __future__ import annotations

from dataclasses import asdict

from ..catalogue import catalogue
from .clues import Clues
from .guess import IMAGENET, JOINTS, Guess, letterboxed, with_classes

_FACE_POINTS = ("right_eye", "left_eye", "nose_tip", "mouth", "right_ear", "left_ear")
_YUNET_POINTS = ("right_eye", "left_eye", "nose_tip", "mouth_right", "mouth_left")
_EMBEDDINGS = frozenset({128, 256, 384, 512, 576, 768, 960, 1024, 1280, 1536, 2048})


# --- Pose and faces -------------------------------------------------------------------------------


def movenet(clues: Clues) -> Guess | None:
    """[1, 17, 3]: MoveNet for one person."""
    if clues.shapes != ((1, 17, 3),):
        return None
    guess = Guess(
        "pose",
        {"type": "movenet"},
        95.0,
        ["17 joints with y, x and score: MoveNet for one person"],
        labels=("person",),
        keypoints=JOINTS,
        pad=0,
        deviation=(1.0, 1.0, 1.0),
    )
    return letterboxed(guess)


# (input side, rows, numbers in a row) → strides, anchors in a cell, task, points
_BLAZE: dict[tuple[int, int, int], tuple[tuple[int, ...], int, str, tuple[str, ...]]] = {
    (128, 896, 16): ((8, 16, 16, 16), 2, "face", _FACE_POINTS),
    (192, 2304, 16): ((4,), 1, "face", _FACE_POINTS),
    (224, 2254, 12): (
        (8, 16, 32, 32, 32),
        2,
        "pose",
        ("hip_centre", "full_body_circle", "shoulder_centre", "upper_body_circle"),
    ),
}


def blaze(clues: Clues) -> Guess | None:
    """MediaPipe's detectors of faces and bodies."""
    tables = sorted((o for o in clues.outputs if len(o.shape) == 2), key=lambda o: -o.shape[1])
    if len(clues.outputs) != 2 or len(tables) != 2 or tables[1].shape[1] != 1:
        return None
    rows, columns = tables[0].shape
    known = _BLAZE.get((clues.picture.width, rows, columns))
    if known is None:
        return None
    strides, anchors, task, points = known
    guess = Guess(
        task,
        {"type": "blaze", "keypoints": len(points), "strides": list(strides), "anchors": anchors},
        90.0,
        [f"{rows} anchors with {len(points)} points each: a detector of MediaPipe"],
        labels=("face" if task == "face" else "person",),
        outputs=[table.name for table in tables],
        keypoints=points,
        pad=0,
        mean=(127.5, 127.5, 127.5),
        deviation=(127.5, 127.5, 127.5),
    )
    return letterboxed(guess)


# length of the landmarks → the model of the catalog that is read the same way
_MESHES = {1404: "face_landmark", 195: "blazepose_landmark_full"}


def landmarks(clues: Clues) -> Guess | None:
    """Landmarks of one face or body, and whether there is one: MediaPipe's."""
    lengths = {o.name: [side for side in o.shape if side != 1] for o in clues.outputs}
    meshes = [name for name, sides in lengths.items() if len(sides) == 1 and sides[0] in _MESHES]
    presence = [name for name, sides in lengths.items() if not sides]
    if len(meshes) != 1 or not presence:
        return None
    known = catalogue().get(_MESHES[lengths[meshes[0]][0]]).manifest
    assert known.crops is not None  # by the check of the catalog
    guess = Guess(
        known.task,
        dict(known.head),
        80.0,
        [
            f"{known.head['points']} points of one {known.task}: decoded like {known.name}",
            f"It uses the detections of {known.crops.detector} from the catalog",
        ],
        labels=("face" if known.task == "face" else "person",),
        outputs=[meshes[0], presence[0]],
        keypoints=known.keypoints,
        pad=0,
        crops=asdict(known.crops),
    )
    return letterboxed(guess)


def yunet(clues: Clues) -> Guess | None:
    """Twelve outputs: classes, objectness, boxes and keypoints for three strides."""
    if len(clues.outputs) != 12:
        return None
    ordered: list[str] = []
    kinds = (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
    for kind, columns in kinds:
        for stride in (8, 16, 32):
            shape = (clues.cells(stride), columns)
            fits = [o for o in clues.outputs if o.shape == shape and kind in o.name]
            if len(fits) != 1:
                return None
            ordered.append(fits[0].name)
    return Guess(
        "face",
        {"type": "yunet"},
        95.0,
        ["Classes, objectness, boxes and keypoints for three strides: YuNet"],
        labels=("face",),
        outputs=ordered,
        keypoints=_YUNET_POINTS,
        colour="BGR",
        deviation=(1.0, 1.0, 1.0),
    )


# --- One answer for the whole picture -------------------------------------------------------------


def vector(clues: Clues) -> Guess | None:
    """[C], perhaps between lengths of 1: classification, or an embedding."""
    if len(clues.outputs) != 1:
        return None
    output = clues.outputs[0]
    sides = [side for side in output.shape if side != 1]
    if len(sides) != 1 or not output.shape:
        return None
    if len(output.shape) == 2 and output.probed is not None and output.probed.shape == output.shape:
        return None  # no batch: its first dimension is the number of detections
    (length,) = sides
    words = ("softmax", "prob", "predict", "logit", "class", "score")
    named = next((word for word in words if word in output.name.lower()), None)
    task = clues.metadata.get("task")
    labelled = length in (len(clues.labels), len(clues.labels) + 1)
    pooled = any(word in output.name.lower() for word in ("pool", "embed", "feature"))
    if pooled or (length in _EMBEDDINGS and not labelled and task != "classify" and not named):
        return _scaled(
            clues,
            Guess(
                "embedding",
                {"type": "embedding", "dimensions": length},
                70.0,
                [f"One vector of {length} numbers and no labels: an embedding"],
            ),
        )
    guess = Guess(
        "classification",
        {"type": "classification"},
        85.0 if labelled or length in (1000, 1001) or task == "classify" else 55.0,
        [f"One score for each of {length} classes: classification"],
    )
    probed = output.probed
    if probed is not None:
        if probed.minimum >= -0.01 and probed.maximum <= 1.01:
            guess.reasons.append("Its scores are between 0 and 1")
        else:
            guess.head["score"] = "softmax"
            guess.reasons.append("Its numbers are logits: a softmax converts them to scores")
    elif named == "logit":
        guess.head["score"] = "softmax"
    return _scaled(clues, _vector_labels(clues, guess, length))


def _vector_labels(clues: Clues, guess: Guess, length: int) -> Guess:
    if clues.background and length == len(clues.labels) + 1:
        guess.head["classes"] = length
        guess.labels = ("background", *clues.labels)
        return guess
    return with_classes(clues, guess, length)


def _scaled(clues: Clues, guess: Guess) -> Guess:
    """Guess the scaling of pixels for a network without boxes, by its origin."""
    if clues.content.normalised is not None:
        guess.reasons.append("Its metadata describes the scaling of pixels")
        return guess
    if clues.picture.tensor.dtype in ("uint8", "int8"):
        guess.reasons.append("It accepts unscaled pixels")
        return guess
    if "pytorch" in clues.metadata.get("producer", "").lower() and "names" not in clues.metadata:
        guess.mean, guess.deviation = IMAGENET
        guess.reasons.append(
            "Created by PyTorch: assumed to need the normalization of ImageNet; check it"
        )
    elif clues.picture.layout == "NHWC":
        guess.mean = guess.deviation = (127.5, 127.5, 127.5)
        guess.reasons.append(
            "Created by TensorFlow: assumed to need numbers from -1 to 1; check it"
        )
    return guess


def segmentation(clues: Clues) -> Guess | None:
    """[C, H, W] or [H, W, C]: a class per cell of a grid."""
    if len(clues.outputs) != 1:
        return None
    output, picture = clues.outputs[0], clues.picture
    shape = output.shape
    least = picture.width // 8
    whole = output.probed is None or output.probed.whole
    if len(shape) == 2 and min(shape) >= least and shape[0] <= picture.height >= shape[1] and whole:
        form, layout, classes = "map", "NHWC", len(clues.labels) or 21
    elif len(shape) == 3 and min(shape[:2]) >= least:
        form, layout, classes = "classes", "NHWC", shape[2]
    elif len(shape) == 3 and min(shape[1:]) >= least:
        form, layout, classes = "classes", "NCHW", shape[0]
    else:
        return None
    if classes == 1:
        probed = output.probed
        scores = probed is None or (probed.minimum >= -0.01 and probed.maximum <= 1.01)
        form = "mask" if scores else "mask_logits"
    guess = Guess(
        "segmentation",
        {"type": "segmentation", "form": form, "layout": layout},
        70.0,
        ["A number for every cell of a fine grid: segmentation"],
    )
    if classes == 1 and not clues.labels:
        guess.head["classes"], guess.labels = 1, ("foreground",)
        return guess
    return _scaled(clues, with_classes(clues, guess, classes, ids=True))
