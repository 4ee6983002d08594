"""Build ncnn files for models of the catalog whose own files are for other engines.

They are included in the folder of the model; the part of its manifest for ncnn is written here.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from ncnn_files import NCNN_FILES, write_ncnn
from tfjs_network import MoveNet
from tfjs_ssd import TfjsGraph
from tflite_network import TfliteNetwork


@dataclass(frozen=True)
class Package:
    """The files of a model in a package, and the function that reads them."""

    members: tuple[str, ...]
    read: Callable[[Path], onnx.ModelProto]


def _tflite(path: Path) -> onnx.ModelProto:
    return TfliteNetwork(path).model()


def _movenet(path: Path) -> onnx.ModelProto:
    return MoveNet(TfjsGraph.load(path)).model()


# In PyPI's mediapipe and in npm's @vladmandic/human.
MEDIAPIPE = {
    model_id: Package((f"mediapipe/modules/{folder}/{model_id}.tflite",), _tflite)
    for model_id, folder in (
        ("face_detection_short_range", "face_detection"),
        ("face_landmark", "face_landmark"),
        ("selfie_segmentation", "selfie_segmentation"),
    )
}
HUMAN = {
    "movenet_lightning": Package(
        ("package/models/movenet-lightning.json", "package/models/movenet-lightning.bin"), _movenet
    ),
}


def read_networks(wheel: Path, tarball: Path, folder: Path) -> dict[str, onnx.ModelProto]:
    """Unpack the models into a new folder; return model ID → network."""
    networks = {}
    with zipfile.ZipFile(wheel) as archive:
        for model_id, package in MEDIAPIPE.items():
            networks[model_id] = package.read(Path(archive.extract(package.members[0], folder)))
    with tarfile.open(tarball) as packed:
        for model_id, package in HUMAN.items():
            for member in package.members:
                packed.extract(member, folder, filter="data")
            networks[model_id] = package.read(folder / package.members[0])
    return networks


def build_entry(network: onnx.ModelProto, entry: Path, folder: Path) -> None:
    """Write the ncnn files and the updated manifest of `entry` into a new folder."""
    folder.mkdir()
    write_ncnn(network, folder, folder.with_name(f"{folder.name}-pnnx"))
    manifest = json.loads((entry / "model.json").read_text("utf-8"))
    manifest["engines"]["ncnn"] = {
        "files": {
            role: described(folder / name)
            for role, name in zip(("param", "bin"), NCNN_FILES, strict=True)
        },
        "inputs": ["in0"],
        "outputs": [f"out{number}" for number in range(len(network.graph.output))],
        "layout": "NCHW",
    }
    (folder / "model.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def described(path: Path) -> dict[str, Any]:
    """Return the entry of a file in a manifest."""
    data = path.read_bytes()
    return {"path": path.name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
