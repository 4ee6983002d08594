"""Create tests/node/data/{head_movenet_raw,ncnn_movenet,ncnn_mediapipe}.npz.

They contain the results of the original models of the ncnn files in their own runtimes.

Usage: python tests/node/make_ncnn_fixtures.py MOVENET MODULES PICTURES NODE_MODULES

MOVENET is package/models/movenet-lightning.json of @vladmandic/human 3.3.6 from npm, whose complete
graph is run by @tensorflow/tfjs 4.22.0 from npm in the folder NODE_MODULES. MODULES is the folder
`mediapipe/modules` of mediapipe 0.10.14 from PyPI, whose models are run by ai-edge-litert 2.3.0.
PICTURES is the folder of the test pictures. The node converts pictures to tensors, so that both
sides get the same.

ncnn_movenet.npz: `names` of pictures, and `points`, the result of the graph for each, float32 [17,
3] y, x, score. ncnn_mediapipe.npz: for face_detection_short_range and face_landmark, the raw
outputs for the picture of the self-test, `MODEL.0` and `MODEL.1`, and the results of the node with
LiteRT for the picture FACES: `MODEL.boxes`, `MODEL.scores`, `MODEL.keypoints`; for
selfie_segmentation, `mask`, every fourth row and column of the result of LiteRT for FACES. The
layout of head_movenet_raw.npz is described in make_head_fixtures.py: the outputs are inner tensors
of the graph for the first picture, rounded to eighths so that they compress well, and `points` is
the result of the rest of the graph for these numbers.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from edge_vision_node.frames.decode import decode
from edge_vision_node.inference.preprocess import Preprocessor
from edge_vision_node.inference.runner import Runner
from edge_vision_node.library.catalogue import catalogue
from edge_vision_node.library.install import Installer
from edge_vision_node.models.store import SELF_TEST_PICTURE, ModelStore

DATA = Path(__file__).parent / "data"
SIDE, CELLS, KEYPOINTS = 192, 48, 17
BODIES = ("squat.png", "kite_and_cold.jpg", "face.jpg", "grace_hopper.png")
FACES = "face.jpg"


def movenet(model: Path, pictures: Path, modules: Path, work: Path) -> None:
    """Run the graph of MoveNet and write its results."""
    manifest = catalogue().get("movenet_lightning").manifest
    prepare = Preprocessor(manifest.input, manifest.engines["litert"])
    for number, name in enumerate(BODIES):
        frame = decode((pictures / name).read_bytes(), (SIDE, SIDE))
        tensor, _ = prepare(frame)
        (work / f"{number or 'raw'}.u8").write_bytes(tensor.astype(np.uint8).tobytes())
    # Modules are searched next to the importing file.
    script = shutil.copy(Path(__file__).with_suffix(".mjs"), work)
    (work / "node_modules").symlink_to(modules.resolve())
    subprocess.run(["node", script, model.resolve(), work], check=True)

    def read(name: str, *shape: int) -> np.ndarray:
        return np.fromfile(work / name, np.float32).reshape(shape)

    answers = [read(f"{number or 'raw'}.answer", KEYPOINTS, 3) for number in range(len(BODIES))]
    np.savez_compressed(DATA / "ncnn_movenet.npz", names=BODIES, points=np.stack(answers))
    heads = {
        f"output{i}": read(f"head{i}", 1, CELLS, CELLS, channels).transpose(0, 3, 1, 2)
        for i, channels in enumerate((1, 2 * KEYPOINTS, KEYPOINTS, 2 * KEYPOINTS))
    }
    np.savez_compressed(
        DATA / "head_movenet_raw.npz",
        head=json.dumps({"type": "movenet"}),
        size=np.array([SIDE, SIDE]),
        points=read("raw.rounded", KEYPOINTS, 3),
        **{name: np.ascontiguousarray(head, np.float16) for name, head in heads.items()},
    )


def mediapipe(modules: Path, pictures: Path, work: Path) -> None:
    """Run the models of MediaPipe with LiteRT and write their results."""
    for path in modules.glob("*/*.tflite"):
        shutil.copy(path, work)
    store = ModelStore([work / "models"])
    for model_id in ("face_landmark", "selfie_segmentation"):
        asyncio.run(Installer(store, work / "models", work).install(model_id))
    runner = Runner(store.get("selfie_segmentation"), "litert", "cpu")
    (mask,) = runner.infer(runner.prepare((pictures / FACES).read_bytes()).tensor)
    arrays = {"mask": mask[0, ::4, ::4, 0].astype(np.float16)}
    for model_id in ("face_detection_short_range", "face_landmark"):
        runner = Runner(store.get(model_id), "litert", "cpu")
        found, _ = runner.run(runner.prepare((pictures / FACES).read_bytes()), 50)
        arrays |= {
            f"{model_id}.boxes": found.boxes,
            f"{model_id}.scores": found.scores,
            f"{model_id}.keypoints": found.keypoints,
        }
        tensor, _ = runner.preprocess(decode(SELF_TEST_PICTURE.read_bytes()))
        for number, output in enumerate(runner.infer(tensor)):
            arrays[f"{model_id}.{number}"] = output.astype(np.float16)
    np.savez_compressed(DATA / "ncnn_mediapipe.npz", **arrays)


def main(model: Path, modules: Path, pictures: Path, node_modules: Path) -> None:
    """Write all three files."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        movenet(model, pictures, node_modules, Path(one))
        mediapipe(modules, pictures, Path(other))
    for path in (*DATA.glob("ncnn_*"), DATA / "head_movenet_raw.npz"):
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
