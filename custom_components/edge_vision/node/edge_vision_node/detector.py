"""A model on an accelerator: pictures in, detections out."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .detections import Detections
from .engines import Session, default_threads, describe_engines, get_engine
from .errors import EngineMissingError, InferenceError, ModelError
from .frames.decode import decode
from .frames.tensor import Preprocessor
from .models.heads import build_head
from .models.manifest import Model


@dataclass(frozen=True)
class Prepared:
    """A picture ready for the engine.

    Attributes:
        tensor: float32, shape as the model's input.
        width, height: of the camera's picture in pixels.
        decode_ms: time of decoding alone.
    """

    tensor: NDArray[np.float32]
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


class Detector:
    """Runs a detection model. `prepare` may run in any thread; the rest in one at a time."""

    def __init__(
        self,
        model: Model,
        engine: str | None = None,
        accelerator: str | None = None,
        threads: int | None = None,
    ) -> None:
        """Load the model and run it once, so that the first real frame is not the slow one.

        Raises `EngineMissingError`, `AcceleratorError`, `ModelError` or `InferenceError`.
        """
        if model.manifest.task != "detection":
            raise ModelError(f"{model.manifest.name} is for {model.manifest.task}, not detection")
        self.model = model
        self.labels = model.labels
        self.engine = engine or default_engine(model)
        runtime = get_engine(self.engine)
        self.engine_version = runtime.version()
        self.accelerator = accelerator or runtime.accelerators()[0].id
        spec = model.engine(self.engine)
        self.preprocess = Preprocessor(model.manifest.input, spec.layout)
        self._head = build_head(model.manifest.head)
        started = time.perf_counter()
        self._session: Session | None = runtime.load(
            model.files(self.engine), self.accelerator, threads or default_threads()
        )
        self.infer(np.zeros(self.preprocess.shape, np.float32))
        self.load_ms = (time.perf_counter() - started) * 1000

    def class_ids(self, labels: tuple[str, ...]) -> NDArray[np.int32] | None:
        """Return the class ids of labels, None for "all". Unknown labels raise `ModelError`."""
        if not labels:
            return None
        unknown = [label for label in labels if label not in self.labels]
        if unknown:
            raise ModelError(f"{self.model.manifest.name} has no label {', '.join(unknown)}")
        return np.array([self.labels.index(label) for label in labels], dtype=np.int32)

    def prepare(self, data: bytes | memoryview) -> Prepared:
        """Decode a picture and make the model's input of it. Raises `PictureError`."""
        started = time.perf_counter()
        frame = decode(data, self.preprocess.size)
        decode_ms = (time.perf_counter() - started) * 1000
        return Prepared(self.preprocess(frame), frame.width, frame.height, decode_ms)

    def infer(self, tensor: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run the engine alone. Raises `InferenceError`."""
        if self._session is None:
            raise InferenceError("The model has been unloaded")
        return self._session.infer(tensor)

    def detect(
        self,
        tensor: NDArray[np.float32],
        confidence: float,
        class_ids: NDArray[np.int32] | None = None,
    ) -> tuple[Detections, float]:
        """Run the model and read its outputs.

        Args:
            tensor: from `prepare`.
            confidence: the lowest of interest, in percent.
            class_ids: those of interest; None for all.

        Returns:
            the detections, and the milliseconds that the engine took.
        """
        started = time.perf_counter()
        outputs = self.infer(tensor)
        inference_ms = (time.perf_counter() - started) * 1000
        detections = self._head(outputs, score_of(confidence)).of_classes(class_ids)
        return detections, inference_ms

    def measure(self, tensor: NDArray[np.float32], runs: int) -> float:
        """Return the median milliseconds of some runs of the engine alone."""
        times = []
        for _ in range(runs):
            started = time.perf_counter()
            self.infer(tensor)
            times.append((time.perf_counter() - started) * 1000)
        return statistics.median(times)

    def close(self) -> None:
        """Unload the model; who still holds the detector gets an error, not a crash."""
        if self._session is not None:
            self._session.close()
            self._session = None


def score_of(confidence: float) -> float:
    """Return a percentage as the score (0-1) that heads work with, kept off both ends."""
    return min(max(confidence / 100, 0.001), 0.999)
