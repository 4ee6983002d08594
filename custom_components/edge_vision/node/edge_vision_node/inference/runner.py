"""Runs a model on an accelerator: pictures in, results out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..detections import Detections, Placement, joined
from ..engines import (
    Engine,
    Session,
    default_accelerator,
    default_threads,
    describe_engines,
    get_engine,
)
from ..errors import AcceleratorError, EngineMissingError, InferenceError, ModelError, PictureError
from ..findings import Classification, Result, findings
from ..frames.decode import Frame, decode
from ..imaging.messages import CROP_DETAIL, Pixels
from ..models.heads import build_head
from ..models.heads.decoding import best_first
from ..models.heads.landmarks import LandmarksHead
from ..models.manifest import Model
from ..protocol import Findings
from .landmark_crops import find_crops
from .preprocess import Preprocessor

# Parts of a frame that run as a batch, if that takes less than this share of the time.
_BATCH, _BATCH_GAIN, _BATCH_RUNS = 4, 0.85, 3
# Crops per picture of a model that uses crops, their keypoints in total, and the minimum confidence
# of the detector (percent; MediaPipe's own threshold).
_MOST_CROPS = 4
_MOST_KEYPOINTS = 500
_FOUND_FROM = 50.0


@dataclass(frozen=True)
class Prepared:
    """A picture ready for the engine.

    Attributes:
        tensor: shape and dtype as the model's input, or as the input of its detector for a model
            that uses crops.
        placement: where the frame lies in it.
        width, height: of the camera's picture in pixels.
        decode_ms: time of decoding.
        frame: the picture that crops are cut from, for a model that uses crops.
    """

    tensor: NDArray[Any]
    placement: Placement
    width: int
    height: int
    decode_ms: float
    frame: Frame | None = None


def default_engine(model: Model) -> str:
    """Return the first engine that works here and has files of the model.

    Raises `EngineMissingError`.
    """
    reasons = []
    for engine in describe_engines():
        if engine.version is not None and engine.id in model.engines:
            return engine.id
        reasons.append(engine.missing or f"{model.manifest.name} has no files for {engine.name}")
    raise EngineMissingError(f"No engine here can run {model.manifest.name}: {'; '.join(reasons)}")


def _default_accelerator(model: Model, engine: Engine) -> str:
    found = default_accelerator(engine.accelerators(), model.engine(engine.id).files)
    if found is None:
        raise AcceleratorError(
            f"{model.manifest.name} has no file for an accelerator of {engine.name} on this device"
        )
    return found


class Runner:
    """Runs a model. `prepare` may run in any thread, everything else in one thread at a time."""

    def __init__(
        self,
        model: Model,
        engine: str | None = None,
        accelerator: str | None = None,
        threads: int | None = None,
        cache: Path | None = None,
    ) -> None:
        """Load the model and run it once, so that the first real frame is not slow.

        `cache`: folder for models that the engine compiles. Raises `EngineMissingError`,
        `AcceleratorError`, `ModelError` or `InferenceError`.
        """
        self.model = model
        self.labels = model.labels
        self.engine = engine or default_engine(model)
        runtime = get_engine(self.engine)
        self.engine_version = runtime.version()
        self.accelerator = accelerator or _default_accelerator(model, runtime)
        self.preprocess = Preprocessor(model.manifest.input, model.engine(self.engine))
        size = (model.manifest.input.width, model.manifest.input.height)
        self._head = build_head(model.manifest.head, size)
        self._finder = self._load_finder(threads, cache)
        started = time.perf_counter()
        self._session: Session | None = runtime.load(
            model.files(self.engine, cache), self.accelerator, threads or default_threads()
        )
        self.infer(np.zeros(self.preprocess.shape, self.preprocess.dtype))
        self._batch = self._find_batch(self._session)
        self.load_ms = (time.perf_counter() - started) * 1000

    def _load_finder(self, threads: int | None, cache: Path | None) -> Runner | None:
        """Load the detector of the model's crops on the same accelerator."""
        crops, detector = self.model.manifest.crops, self.model.detector
        if crops is None:
            return None
        if detector is None:
            raise ModelError(
                f"{self.model.manifest.name} needs the detections of {crops.detector}; install"
                " that model, too"
            )
        if detector.manifest.crops is not None:
            raise ModelError(f"{crops.detector} needs crops itself")
        return Runner(detector, self.engine, self.accelerator, threads, cache)

    def class_ids(self, labels: tuple[str, ...]) -> NDArray[np.int32] | None:
        """Return the class ids of labels; None for all. Raises `ModelError` for unknown labels."""
        if not labels:
            return None
        return np.array(self.model.class_ids(labels), dtype=np.int32)

    def prepare(self, data: bytes | memoryview, *, sound: bool = False) -> Prepared:
        """Decode a picture and prepare it for the model. Raises `PictureError`.

        `sound`: see `decode`.
        """
        started = time.perf_counter()
        width, height = self.preprocess.size
        if self._finder is not None:
            # A face or body is a part of the picture, and needs more of its pixels.
            width, height = width * CROP_DETAIL, height * CROP_DETAIL
        frame = decode(data, (width, height), sound=sound)
        return self.prepare_frame(frame, (time.perf_counter() - started) * 1000)

    def prepare_still(self, data: bytes | memoryview, shape: Pixels) -> Prepared:
        """Prepare a picture that another process has decoded for this model.

        Raises `PictureError` if the pixels do not fit.
        """
        pixels = np.frombuffer(data, np.uint8)
        size = (shape.columns, shape.rows)
        if len(pixels) != size[0] * size[1] * 3:
            raise PictureError(
                f"{len(pixels)} bytes are not a picture of {size[0]}x{size[1]} pixels"
            )
        pixels = pixels.reshape(size[1], size[0], 3)
        if shape.placement is None:
            frame = Frame(Image.fromarray(pixels), shape.width, shape.height)
            return self.prepare_frame(frame, shape.decode_ms)
        if size != self.preprocess.size:
            raise PictureError(f"{size[0]}x{size[1]} pixels are not an input of {self.model.id}")
        tensor = self.preprocess.tensor(pixels)
        return Prepared(tensor, shape.placement, shape.width, shape.height, shape.decode_ms)

    @property
    def finds_parts(self) -> bool:
        """Return whether the model uses crops that its own detector finds in the whole picture."""
        return self._finder is not None

    def prepare_frame(self, frame: Frame, decode_ms: float = 0.0) -> Prepared:
        """Prepare a decoded picture for the model."""
        tensor, placement = (self._finder or self).preprocess(frame)
        kept = None if self._finder is None else frame
        return Prepared(tensor, placement, frame.width, frame.height, decode_ms, kept)

    def prepare_crops(
        self, pixels: bytes | memoryview, placements: Sequence[Sequence[float]]
    ) -> list[Prepared]:
        """Prepare parts of a frame for the model.

        Args:
            pixels: uint8 RGB [N, H, W, 3] with the model's height and width.
            placements: N times scale_x, scale_y, offset_x, offset_y (`Placement`).

        Raises:
            PictureError: the number of pixels is wrong.
        """
        width, height = self.preprocess.size
        if len(pixels) != len(placements) * height * width * 3:
            raise PictureError(f"{len(pixels)} bytes are not {len(placements)} parts of a frame")
        crops = np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)
        return [
            Prepared(self.preprocess.tensor(crop), Placement(*place), width, height, 0.0)
            for crop, place in zip(crops, placements, strict=True)
        ]

    def infer(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        """Run the engine alone. Raises `InferenceError`."""
        if self._session is None:
            raise InferenceError("The model has been unloaded")
        return self._session.infer(tensor)

    def run(
        self,
        prepared: Prepared,
        confidence: float,
        class_ids: NDArray[np.int32] | None = None,
    ) -> tuple[Result, float]:
        """Run the model and read its outputs.

        Args:
            prepared: from `prepare`.
            confidence: the minimum, in percent.
            class_ids: the wanted ones; None for all. A segmentation always has all.

        Returns:
            the result in coordinates of the frame, and the engine's milliseconds.
        """
        if self._finder is not None:
            return self._run_crops(self._finder, prepared, confidence, class_ids)
        (result,), inference_ms = self.run_all([prepared], confidence, class_ids)
        return result, inference_ms

    def run_all(
        self,
        prepared: Sequence[Prepared],
        confidence: float,
        class_ids: NDArray[np.int32] | None = None,
    ) -> tuple[list[Result], float]:
        """Run the model on several pictures, as batches if that is faster. Returns as `run`."""
        results: list[Result] = []
        spent_ms = 0.0
        for first in range(0, len(prepared), self._batch):
            parts = prepared[first : first + self._batch]
            tensors = [part.tensor for part in parts]
            started = time.perf_counter()
            outputs = self.infer(np.concatenate(tensors) if len(parts) > 1 else tensors[0])
            spent_ms += (time.perf_counter() - started) * 1000
            for number, part in enumerate(parts):
                mine = outputs
                if len(parts) > 1:
                    mine = tuple(output[number : number + 1] for output in outputs)
                result = self._head(mine, score_of(confidence))
                if isinstance(result, Detections):
                    result = result.of_classes(class_ids).placed(part.placement)
                elif isinstance(result, Classification):
                    result = result.of_classes(class_ids)
                results.append(result)
        return results, spent_ms

    def _find_batch(self, session: Session) -> int:
        """Measure and return how many pictures to run as a batch.

        On two cores, ONNX Runtime takes as long or longer for a batch of four.
        """
        if not session.batches:
            return 1
        one = np.zeros(self.preprocess.shape, self.preprocess.dtype)
        several = np.concatenate([one] * _BATCH)
        try:
            outputs = self.infer(several)
        except InferenceError:
            return 1  # it takes one picture, whatever its file says
        if any(len(output) != _BATCH for output in outputs):
            return 1
        alone, together = self.measure(one, _BATCH_RUNS), self.measure(several, _BATCH_RUNS)
        return _BATCH if together < _BATCH_GAIN * _BATCH * alone else 1

    def _run_crops(
        self,
        finder: Runner,
        prepared: Prepared,
        confidence: float,
        class_ids: NDArray[np.int32] | None,
    ) -> tuple[Detections, float]:
        """Run the detector, then the model on the crops of its detections, best first."""
        crops = self.model.manifest.crops
        assert prepared.frame is not None
        assert crops is not None
        assert isinstance(self._head, LandmarksHead)  # by the check of the manifest
        found, inference_ms = finder.run(prepared, min(confidence, _FOUND_FROM))
        if not isinstance(found, Detections):
            raise ModelError(f"{crops.detector} finds no objects")
        image = prepared.frame.image
        parts = []
        points = max(len(self.model.manifest.keypoints), 1)
        most = max(min(_MOST_CROPS, _MOST_KEYPOINTS // points), 1)
        for crop in find_crops(found, crops, image.size, most):
            tensor = self.preprocess.tensor(crop.cut(image, self.preprocess.size))
            started = time.perf_counter()
            outputs = self.infer(tensor)
            inference_ms += (time.perf_counter() - started) * 1000
            marks, score = self._head.read(outputs)
            marks = crop.to_picture(marks, image.size)
            parts.append(self._head.found(marks, score, score_of(confidence)).in_frame())
        return best_first(joined(parts)).of_classes(class_ids), inference_ms

    def engine_alone(self, prepared: Prepared) -> None:
        """Run the engine without reading its outputs, to time it. Raises `InferenceError`."""
        if self._finder is None:
            self.infer(prepared.tensor)
        else:  # as with one face or body
            self._finder.infer(prepared.tensor)
            self.infer(np.zeros(self.preprocess.shape, self.preprocess.dtype))

    def findings(self, result: Result, confidence: float) -> Findings:
        """Return a result in the form of messages."""
        return findings(result, self.labels, self.model.manifest.keypoints, score_of(confidence))

    def measure(self, tensor: NDArray[Any], runs: int) -> float:
        """Return the median milliseconds of some runs of the engine alone."""
        times = []
        for _ in range(runs):
            started = time.perf_counter()
            self.infer(tensor)
            times.append((time.perf_counter() - started) * 1000)
        return statistics.median(times)

    def close(self) -> None:
        """Unload the model; later runs raise an error instead of crashing."""
        if self._finder is not None:
            self._finder.close()
        if self._session is not None:
            self._session.close()
            self._session = None


def score_of(confidence: float) -> float:
    """Return a percentage as a score for heads, between 0 and 1 exclusively."""
    return min(max(confidence / 100, 0.001), 0.999)
