"""A model's manifest: everything that is needed to run its files and to read its tensors.

`model.json` lies beside the files it names. Paths in it are relative to its folder and may not
leave it; every file carries its size and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..engines.base import EngineFiles
from ..errors import EngineMissingError, ModelError
from ..protocol import ModelInfo, ProtocolError, read

SCHEMA = 1
MANIFEST_NAME = "model.json"
TASKS = ("detection", "classification", "pose", "face", "embedding", "segmentation")


@dataclass(frozen=True, kw_only=True)
class FileSpec:
    """A file of a model."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What the model wants to see: tensor = (pixel - mean) * scale, per channel.

    `layout` is NHWC or NCHW, `colour` RGB or BGR. `resize` is "stretch" (the frame is resized to
    width x height whatever its shape) or "letterbox" (it keeps its shape, at the top left, and the
    rest has the grey value `pad`, 0-255).
    """

    width: int
    height: int
    layout: str
    colour: str
    resize: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    pad: int = 114


@dataclass(frozen=True, kw_only=True)
class CropSpec:
    """Where the crops lie that a model wants to see instead of the whole picture.

    `detector` is the id of the model that finds them. A crop is a square round a detection: round
    its box ("box"), or round the circle with the middle `start` and `end` on it ("circle"), `scale`
    times as large. It is turned so that the line from keypoint `start` to keypoint `end` has
    `angle`, in degrees: 0 points to the right, 90 up.
    """

    detector: str
    start: int
    end: int
    angle: float
    scale: float
    around: str = "box"


@dataclass(frozen=True, kw_only=True)
class ConstantSpec:
    """A tensor that never changes."""

    dtype: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """The model's files for one engine.

    `layout` where it differs from the input's. `dtype` "uint8" for a quantised model that takes
    pixels as they are. `constants`: further inputs that are the same for every frame.
    """

    files: dict[str, FileSpec]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layout: str | None = None
    dtype: str = "float32"
    constants: dict[str, ConstantSpec] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of a `model.json`.

    `task` is one of `TASKS`. `keypoints` names the points that a pose or face model finds.
    `crops`: for a model of landmarks, which sees one face or body at a time.
    """

    schema: int
    id: str
    version: str
    name: str
    task: str
    input: InputSpec
    head: dict[str, Any]
    labels: FileSpec
    engines: dict[str, EngineSpec]
    license: str
    source: str
    accuracy: dict[str, Any] = field(default_factory=dict)
    keypoints: tuple[str, ...] = ()
    crops: CropSpec | None = None


@dataclass(frozen=True)
class Model:
    """A manifest with its folder and labels.

    `detector`: the model that its manifest's `crops` names, where that is there.
    """

    folder: Path
    manifest: Manifest
    labels: tuple[str, ...]
    detector: Model | None = None

    @property
    def id(self) -> str:
        """Return the model's id."""
        return self.manifest.id

    @property
    def engines(self) -> tuple[str, ...]:
        """Return the engines that it has files for, and its detector, where it wants one, too."""
        others = self.manifest.engines if self.detector is None else self.detector.manifest.engines
        return tuple(engine for engine in self.manifest.engines if engine in others)

    def class_ids(self, labels: tuple[str, ...]) -> list[int]:
        """Return the class ids of labels; some models have several classes of the same name.

        Unknown labels raise `ModelError`.
        """
        unknown = [label for label in labels if label not in self.labels]
        if unknown:
            raise ModelError(f"{self.manifest.name} has no label {', '.join(unknown)}")
        return [number for number, label in enumerate(self.labels) if label in labels]

    def engine(self, engine_id: str) -> EngineSpec:
        """Return what the model has for an engine. Raises `EngineMissingError`."""
        try:
            return self.manifest.engines[engine_id]
        except KeyError:
            known = ", ".join(self.manifest.engines)
            raise EngineMissingError(
                f"{self.manifest.name} has no files for {engine_id}; it runs on {known}"
            ) from None

    def files(self, engine_id: str, cache: Path | None = None) -> EngineFiles:
        """Return the files for an engine, after checking size and SHA-256 of each.

        `cache` is the folder for what engines compile, of all models together.

        Raises `ModelError` where a file is missing or is not the one that the manifest names.
        """
        spec = self.engine(engine_id)
        return EngineFiles(
            model_id=self.id,
            paths={role: _checked(self.folder, file) for role, file in spec.files.items()},
            inputs=spec.inputs,
            outputs=spec.outputs,
            constants={name: (item.dtype, item.value) for name, item in spec.constants.items()},
            dtype=spec.dtype,
            cache=cache / self.cache_name(engine_id) if cache else None,
        )

    def cache_name(self, engine_id: str) -> str:
        """Return the name of the folder for what an engine compiles from these very files."""
        return f"{self.id}-{self.digest(engine_id)[:12]}"

    def digest(self, engine_id: str) -> str:
        """Return a digest of all that decides how an engine runs this: files, names, input, head.

        Two models of one digest behave the same; a changed byte makes another. Raises
        `EngineMissingError`.
        """
        spec = self.engine(engine_id)
        what: list[Any] = [asdict(spec), asdict(self.manifest.input), self.manifest.head]
        if self.manifest.crops is not None:
            what.append(asdict(self.manifest.crops))
        if self.detector is not None:
            what.append(self.detector.digest(engine_id))
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def info(self) -> ModelInfo:
        """Return the model as messages describe it."""
        manifest = self.manifest
        return ModelInfo(
            id=manifest.id,
            version=manifest.version,
            name=manifest.name,
            task=manifest.task,
            labels=self.labels,
            engines=self.engines,
            license=manifest.license,
            source=manifest.source,
            width=manifest.input.width,
            height=manifest.input.height,
            size_bytes=sum(
                {
                    file.path: file.size  # several engines may read the same one
                    for engine in manifest.engines.values()
                    for file in engine.files.values()
                }.values()
            ),
            detector=manifest.crops.detector if manifest.crops else None,
        )


def read_manifest(path: Path) -> Manifest:
    """Read a `model.json` alone. Raises `ModelError` naming what is wrong."""
    try:
        manifest = read(Manifest, json.loads(path.read_bytes()))
    except OSError as err:
        raise ModelError(f"{path}: {err.strerror}") from err
    except (ProtocolError, ValueError, RecursionError) as err:
        raise ModelError(f"{path} is not a model manifest: {err}") from err
    if manifest.schema != SCHEMA:
        raise ModelError(f"{path} has schema {manifest.schema}; this version reads {SCHEMA}")
    if manifest.task not in TASKS:
        raise ModelError(f"{path} is for {manifest.task!r}; this version knows {', '.join(TASKS)}")
    if (crops := manifest.crops) is not None:
        if manifest.head.get("type") != "landmarks" or manifest.task not in ("pose", "face"):
            raise ModelError(f"{path} wants crops, but has no landmarks of a pose or face")
        if crops.around not in ("box", "circle") or min(crops.start, crops.end) < 0:
            raise ModelError(f"{path} has crops round {crops.around!r}, not round a box or circle")
    return manifest


def load_model(folder: Path) -> Model:
    """Read a model's manifest and labels. Raises `ModelError` naming what is wrong."""
    manifest = read_manifest(folder / MANIFEST_NAME)
    labels = _checked(folder, manifest.labels).read_text("utf-8").splitlines()
    return Model(folder, manifest, tuple(labels))


def _checked(folder: Path, spec: FileSpec) -> Path:
    path = (folder / spec.path).resolve()
    if path.parent != folder.resolve():
        raise ModelError(f"{spec.path} is outside the model's folder")
    try:
        if path.stat().st_size != spec.size:
            raise ModelError(f"{path} is damaged: it has not the {spec.size} bytes it should have")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise ModelError(f"{path}: {err.strerror}") from err
    if digest != spec.sha256:
        raise ModelError(f"{path} is damaged: its SHA-256 is not the manifest's")
    return path
