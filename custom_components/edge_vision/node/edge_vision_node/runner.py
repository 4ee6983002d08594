"""A model on an accelerator: pictures in, results out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detections import Detections, Placement
from .engines import (
    Engine,
    Session,
    default_accelerator,
    default_threads,
    describe_engines,
    get_engine,
)
from .errors import AcceleratorError, EngineMissingError, InferenceError, PictureError
from .frames.decode import decode
from .frames.tensor import Preprocessor
from .models.heads import build_head
from .models.manifest import Model
from .protocol import Findings
from .results import Classification, Result, findings

# Parts of a frame that are run at once, where that takes less than this share of the time.
_BATCH, _BATCH_GAIN, _BATCH_RUNS = 4, 0.85, 3


@dataclass(frozen=True)
class Prepared:
    """A picture ready for the engine.

    Attributes:
        tensor: shape and dtype as the model's input.
        placement: where the frame lies in it.
        width, height: of the camera's picture in pixels.
        decode_ms: time of decoding alone.
    """

    tensor: NDArray[Any]
    placement: Placement
    width: int
    height: int
    decode_ms: float


def default_engine(model: Model) -> str:
    """Return the first engine that works here and that the model has files for.

    Raises `EngineMissingError`.
    """
    reasons = []
    for engine in describe_engines():
        if engine.version is not None and engine.id in model.manifest.engines:
            return engine.id
        reasons.append(engine.missing or f"{model.manifest.name} has no files for {engine.name}")
    raise EngineMissingError(f"No engine here can run {model.manifest.name}: {'; '.join(reasons)}")


def _default_accelerator(model: Model, engine: Engine) -> str:
    found = default_accelerator(engine.accelerators(), model.engine(engine.id).files)
    if found is None:
        raise AcceleratorError(
            f"{model.manifest.name} has no file for an accelerator that {engine.name} has here"
        )
    return found


class Runner:
    """Runs a model. `prepare` may run in any thread; the rest in one at a time."""

    def __init__(
        self,
        model: Model,
        engine: str | None = None,
        accelerator: str | None = None,
        threads: int | None = None,
        cache: Path | None = None,
    ) -> None:
        """Load the model and run it once, so that the first real frame is not the slow one.

        `cache` is the folder in which engines may keep what they compile. Raises
        `EngineMissingError`, `AcceleratorError`, `ModelError` or `InferenceError`.
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
        started = time.perf_counter()
        self._session: Session | None = runtime.load(
            model.files(self.engine, cache), self.accelerator, threads or default_threads()
        )
        self.infer(np.zeros(self.preprocess.shape, self.preprocess.dtype))
        self._batch = self._find_batch(self._session)
        self.load_ms = (time.perf_counter() - started) * 1000

    def class_ids(self, labels: tuple[str, ...]) -> NDArray[np.int32] | None:
        """Return the class ids of labels, None for "all". Unknown labels raise `ModelError`."""
        if not labels:
            return None
        return np.array(self.model.class_ids(labels), dtype=np.int32)

    def prepare(self, data: bytes | memoryview) -> Prepared:
        """Decode a picture and make the model's input of it. Raises `PictureError`."""
        started = time.perf_counter()
        frame = decode(data, self.preprocess.size)
        decode_ms = (time.perf_counter() - started) * 1000
        tensor, placement = self.preprocess(frame)
        return Prepared(tensor, placement, frame.width, frame.height, decode_ms)

    def prepare_crops(
        self, pixels: bytes | memoryview, placements: Sequence[Sequence[float]]
    ) -> list[Prepared]:
        """Make the model's inputs of parts of a frame.

        Args:
            pixels: uint8 RGB [N, H, W, 3] with the model's height and width.
            placements: N times scale_x, scale_y, offset_x, offset_y (`Placement`).

        Raises:
            PictureError: the pixels are not as many as they should be.
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
            confidence: the lowest of interest, in percent.
            class_ids: those of interest; None for all. Of a segmentation, all are returned.

        Returns:
            the result in coordinates of the frame, and the milliseconds that the engine took.
        """
        (result,), inference_ms = self.run_all([prepared], confidence, class_ids)
        return result, inference_ms

    def run_all(
        self,
        prepared: Sequence[Prepared],
        confidence: float,
        class_ids: NDArray[np.int32] | None = None,
    ) -> tuple[list[Result], float]:
        """Do as `run` with several pictures; several at once where that is quicker."""
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
        """Return how many pictures to run at once: measured, for a processor may gain nothing.

        Of two cores, ONNX Runtime takes as long or longer for four pictures at once.
        """
        if not session.batches:
            return 1
        one = np.zeros(self.preprocess.shape, self.preprocess.dtype)
        several = np.concatenate([one] * _BATCH)
        try:
            outputs = self.infer(several)
        except InferenceError:
            return 1  # it takes one at a time, whatever its file says
        if any(len(output) != _BATCH for output in outputs):
            return 1
        alone, together = self.measure(one, _BATCH_RUNS), self.measure(several, _BATCH_RUNS)
        return _BATCH if together < _BATCH_GAIN * _BATCH * alone else 1

    def findings(self, result: Result, confidence: float) -> Findings:
        """Return a result as messages carry it."""
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
        """Unload the model; who still holds the runner gets an error, not a crash."""
        if self._session is not None:
            self._session.close()
            self._session = None


def score_of(confidence: float) -> float:
    """Return a percentage as the score (0-1) that heads work with, kept off both ends."""
    return min(max(confidence / 100, 0.001), 0.999)
