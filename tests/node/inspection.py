"""Helpers for tests of the inspection of models: an inspector, and tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_vision_node.library.inspection.inspector import Inspector, Wish
from edge_vision_node.models.store import BUNDLED, DEFAULT_MODEL, SELF_TEST_PICTURE, ModelStore
from edge_vision_node.protocol import Inspection
from edge_vision_node.workers.pool import Workers

from tests.onnx_files import Tensor, onnx_file
from tests.pictures import TEST_DATA

DEFAULT = BUNDLED / DEFAULT_MODEL
MODELS = TEST_DATA / "models"


@dataclass
class Bench:
    """An inspector with its own folder."""

    folder: Path
    store: ModelStore
    workers: Workers
    inspector: Inspector

    async def look(self, path: Path, **wishes: Any) -> Inspection:
        wishes.setdefault("picture", SELF_TEST_PICTURE.read_bytes())
        inspection, self.jpeg = await self.inspector.inspect(Wish(path=path, **wishes))
        staging = self.folder / "models" / ".staging"
        assert not staging.exists() or not any(staging.iterdir())
        return inspection

    async def look_at(
        self, inputs: list[Tensor], outputs: list[Tensor], fill: float = 0.0, **more: Any
    ) -> Inspection:
        """Inspect an ONNX model with some tensors."""
        path = self.folder / "mine.onnx"
        metadata, producer = more.pop("metadata", None), more.pop("producer", "tests")
        path.write_bytes(onnx_file(inputs, outputs, metadata, fill, producer))
        return await self.look(path, **more)


def image(side: int = 640, *, nhwc: bool = False) -> Tensor:
    return ("images", (1, side, side, 3) if nhwc else (1, 3, side, side), "float32")


def out(*shape: int, name: str = "output0", dtype: str = "float32") -> Tensor:
    return (name, shape, dtype)


NAMES = {"names": "{0: 'nut', 1: 'bolt', 2: 'washer'}"}
ULTRALYTICS = {**NAMES, "task": "detect", "stride": "32", "imgsz": "[640, 640]"}
