"""Create tests/node/data/head_{blazeface,blazepose_detector,face_mesh,blazepose}.npz.

Usage: python tests/node/make_mediapipe_fixtures.py MODULES FACE_PICTURE BODY_PICTURE

MODULES is the folder `mediapipe/modules` of mediapipe 0.10.14 from PyPI (Apache-2.0), whose
solutions are the reference. The detectors get the picture as a square of exactly their input size,
so that both sides decode the same tensor. The landmark models get the rotated crop of MediaPipe,
cut out by Pillow: their points agree within some thousandths of its side. Created with mediapipe
0.10.14 and ai-edge-litert 2.3.0 under Python 3.11. The layout of a fixture is described in
make_head_fixtures.py; `place` is the affine [2, 3] from the crop to the picture, both normalized.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mediapipe
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from mediapipe.python.solution_base import SolutionBase
from PIL import Image

DATA = Path(__file__).parent / "data"
BLAZEFACE = {"type": "blaze", "keypoints": 6, "strides": [8, 16, 16, 16]}
BLAZEPOSE = {"type": "blaze", "keypoints": 4, "strides": [8, 16, 32, 32, 32]}
MESH = {"type": "landmarks", "points": 468}
BODY = {"type": "landmarks", "points": 39, "values": 5, "presence": "none"}


def run(path: Path, pixels: Any, low: float, high: float) -> list[Any]:
    """Return the outputs of a model for uint8 [H, W, 3], scaled to low…high."""
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    tensor = pixels[np.newaxis].astype(np.float32) / 255 * (high - low) + low
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    outputs = {d["name"]: d["index"] for d in interpreter.get_output_details()}
    return [interpreter.get_tensor(index) for index in outputs.values()]


def square(picture: Image.Image, side: int) -> Any:
    """Return the picture with its shape kept, at the top left of a black square."""
    ratio = side / max(picture.size)
    small = picture.resize((round(picture.width * ratio), round(picture.height * ratio)))
    result = Image.new("RGB", (side, side))
    result.paste(small)
    return np.asarray(result)


def save(name: str, head: dict[str, Any], size: int, outputs: list[Any], **arrays: Any) -> None:
    """Write a fixture."""
    path = DATA / f"head_{name}.npz"
    arrays |= {f"output{i}": output for i, output in enumerate(outputs)}
    np.savez_compressed(path, head=json.dumps(head), size=np.array([size, size]), **arrays)
    print(path.name, path.stat().st_size, {k: np.shape(v) for k, v in arrays.items()})


def blazeface(modules: Path, picture: Image.Image) -> None:
    """Compare the detector with the face detection of MediaPipe."""
    pixels = square(picture, 128)
    outputs = run(modules / "face_detection/face_detection_short_range.tflite", pixels, -1, 1)
    with mediapipe.solutions.face_detection.FaceDetection(0, 0.5) as solution:
        found = solution.process(pixels).detections
    rows = [d.location_data for d in found]
    boxes = [d.relative_bounding_box for d in rows]
    save(
        "blazeface",
        BLAZEFACE,
        128,
        outputs,
        min_score=0.5,
        boxes=np.array([[b.xmin, b.ymin, b.xmin + b.width, b.ymin + b.height] for b in boxes]),
        scores=np.array([d.score[0] for d in found]),
        points=np.array([[[p.x, p.y] for p in d.relative_keypoints] for d in rows]),
    )


def solve(graph: str, picture: Image.Image, outputs: list[str], **side: Any) -> Any:
    """Run a graph of MediaPipe on a picture."""
    with SolutionBase(binary_graph_path=graph, side_inputs=side, outputs=outputs) as solution:
        return solution.process({"image": np.asarray(picture)})


def crop_of(picture: Image.Image, rect: Any, side: int) -> tuple[Any, Any]:
    """Return uint8 [side, side, 3], and the affine [2, 3] from its unit square to the picture."""
    width, height = picture.size
    cos, sin = np.cos(rect.rotation), np.sin(rect.rotation)
    turn = np.array([[cos, -sin], [sin, cos]]) * [rect.width * width, rect.height * height]
    middle = np.array([rect.x_center * width, rect.y_center * height])
    to_pixels = np.column_stack([turn, middle - turn @ [0.5, 0.5]])
    scaled = to_pixels / [[side, side, 1]]
    image = picture.transform(
        (side, side), Image.Transform.AFFINE, tuple(scaled.ravel()), Image.Resampling.BILINEAR
    )
    return np.asarray(image), to_pixels / [[width], [height]]


def face_mesh(modules: Path, picture: Image.Image) -> None:
    """Compare the landmarks with the face mesh of MediaPipe, for the same crop."""
    answer = solve(
        "mediapipe/modules/face_landmark/face_landmark_front_cpu.binarypb",
        picture,
        ["multi_face_landmarks", "face_rects_from_detections"],
        num_faces=1,
        with_attention=False,
        use_prev_landmarks=False,
    )
    pixels, place = crop_of(picture, answer.face_rects_from_detections[0], 192)
    outputs = run(modules / "face_landmark/face_landmark.tflite", pixels, 0, 1)
    points = answer.multi_face_landmarks[0].landmark
    truth = np.array([[p.x, p.y] for p in points])
    save("face_mesh", MESH, 192, outputs, place=place, points=truth)


def blazepose(modules: Path, picture: Image.Image) -> None:
    """Compare detector and landmarks with the pose of MediaPipe; landmarks for the same crop."""
    pixels = square(picture, 224)
    detector = run(modules / "pose_detection/pose_detection.tflite", pixels, -1, 1)
    answer = solve(
        "mediapipe/modules/pose_landmark/pose_landmark_cpu.binarypb",
        picture,
        ["pose_landmarks", "pose_rect_from_detection"],
        model_complexity=1,
        smooth_landmarks=False,
        enable_segmentation=False,
        smooth_segmentation=False,
        use_prev_landmarks=False,
    )
    points = answer.pose_landmarks.landmark
    truth = np.array([[p.x, p.y, p.visibility] for p in points])
    scale = max(picture.size) / np.array(picture.size)
    save("blazepose_detector", BLAZEPOSE, 224, detector, scale=scale, points=truth)
    pixels, place = crop_of(picture, answer.pose_rect_from_detection, 256)
    outputs = run(modules / "pose_landmark/pose_landmark_full.tflite", pixels, 0, 1)
    save("blazepose", BODY, 256, outputs[:2], place=place, points=truth)


if __name__ == "__main__":
    folder, face, person = (Path(argument) for argument in sys.argv[1:])
    blazeface(folder, Image.open(face).convert("RGB"))
    face_mesh(folder, Image.open(face).convert("RGB"))
    blazepose(folder, Image.open(person).convert("RGB"))
