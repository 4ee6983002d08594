"""A model's manifest: everything needed to run its files and to read its tensors.

`model.json` lies beside the files it names. Paths in it are relative to its folder and may not
leave it. Every file has a size and a SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..engines.base import EngineFiles
from ..errors import EngineMissingError, ModelError
from ..plain_files import open_plain, read_plain
from ..protocol import ModelInfo, ProtocolError, read
from .names import MAX_LABEL_BYTES, MAX_LABELS, clean, numbered

SCHEMA = 1
# Both are names of folders. Ids of the user's own models are stricter (`install.MODEL_ID`).
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,31}")
# Names that are taken beside the folders of a model's versions.
RESERVED = frozenset({"current", "current.tmp", "model.json", "con", "nul", "aux", "prn"})
_MOST_KEYPOINTS = 1000
_MOST_PIXELS = 8192
_MOST_SCALE = 1e6
MANIFEST_NAME = "model.json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_MAX_FILE_NAME = 255
TASKS = ("detection", "classification", "pose", "face", "embedding", "segmentation")


@dataclass(frozen=True, kw_only=True)
class FileSpec:
    """A file of a model."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The model's input: tensor = (pixel - mean) * scale, per channel.

    `layout` is NHWC or NCHW, `colour` RGB or BGR. `resize` is "stretch" (the frame is resized to
    width x height whatever its shape) or "letterbox" (it keeps its shape, at the top left, and the
    rest has the gray value `pad`, 0-255).
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
    """The crops that a model uses instead of the whole picture.

    `detector` is the id of the model that finds them. A crop is a square around a detection: around
    its box ("box"), or around the circle with center `start` and `end` on it ("circle"), `scale`
    times as large. It is rotated so that the line from keypoint `start` to keypoint `end` has
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

    `layout`: if it differs from the input's. `dtype`: "uint8" for a quantized model that takes
    unchanged pixels. `constants`: other inputs, which are the same for every frame.
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
    `crops`: for a landmark model, which sees one face or body at a time.
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

    `detector`: the model that `crops` of its manifest names, if it is installed.
    """

    folder: Path
    manifest: Manifest
    labels: tuple[str, ...]
    detector: Model | None = None

    @property
    def id(self) -> str:
        """Return the model's id."""
        return self.manifest.id

    @cached_property
    def label_chars(self) -> int:
        """Return the size of its labels in a message."""
        return len(json.dumps(self.labels))

    @property
    def engines(self) -> tuple[str, ...]:
        """Return the engines that the model, and its detector if it needs one, have files for."""
        others = self.manifest.engines if self.detector is None else self.detector.manifest.engines
        return tuple(engine for engine in self.manifest.engines if engine in others)

    def class_ids(self, labels: tuple[str, ...]) -> list[int]:
        """Return the class ids of labels; several classes may have the same name.

        Raises `ModelError` for unknown labels.
        """
        unknown = [label for label in labels if label not in self.labels]
        if unknown:
            raise ModelError(f"{self.manifest.name} has no label {', '.join(unknown)}")
        return [number for number, label in enumerate(self.labels) if label in labels]

    def engine(self, engine_id: str) -> EngineSpec:
        """Return the model's files and options for an engine. Raises `EngineMissingError`."""
        try:
            return self.manifest.engines[engine_id]
        except KeyError:
            known = ", ".join(self.manifest.engines)
            raise EngineMissingError(
                f"{self.manifest.name} has no files for {engine_id}; it runs on {known}"
            ) from None

    def files(self, engine_id: str, cache: Path | None = None) -> EngineFiles:
        """Return the files for an engine, after checking size and SHA-256 of each.

        `cache`: the folder of compiled models.

        Raises `ModelError` if a file is missing or differs from the manifest.
        """
        spec = self.engine(engine_id)
        return EngineFiles(
            model=self.manifest.name,
            paths={role: _checked(self.folder, file) for role, file in spec.files.items()},
            inputs=spec.inputs,
            outputs=spec.outputs,
            constants={name: (item.dtype, item.value) for name, item in spec.constants.items()},
            dtype=spec.dtype,
            cache=cache / self.cache_name(engine_id) if cache else None,
        )

    def cache_name(self, engine_id: str) -> str:
        """Return the name of the folder for what an engine compiles from these files."""
        return f"{self.id}-{self.digest(engine_id)[:12]}"

    def digest(self, engine_id: str) -> str:
        """Return a digest of everything that an engine depends on: files, names, input, head.

        Models with the same digest behave the same. Raises `EngineMissingError`.
        """
        spec = self.engine(engine_id)
        what: list[Any] = [asdict(spec), asdict(self.manifest.input), self.manifest.head]
        if self.manifest.crops is not None:
            what.append(asdict(self.manifest.crops))
        if self.detector is not None:
            what.append(self.detector.digest(engine_id))
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def info(self) -> ModelInfo:
        """Return the model's description for messages."""
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
                    file.path: file.size  # engines may share files
                    for engine in manifest.engines.values()
                    for file in engine.files.values()
                }.values()
            ),
            detector=manifest.crops.detector if manifest.crops else None,
        )


def read_manifest(path: Path) -> Manifest:
    """Read a `model.json` only. Raises `ModelError` that says what is wrong."""
    try:
        document = json.loads(
            read_plain(path, MAX_MANIFEST_BYTES, follow=False),
            parse_constant=_no_number,
            parse_float=_finite,
        )
        manifest = read(Manifest, document)
    except OSError as err:
        raise ModelError(f"{path}: {err.strerror}") from err
    except (ProtocolError, ValueError, RecursionError) as err:
        raise ModelError(f"{path} is not a model manifest: {err}") from err
    if manifest.schema != SCHEMA:
        raise ModelError(f"{path} has schema {manifest.schema}; this version reads {SCHEMA}")
    check_names(manifest.id, manifest.version)
    if manifest.task not in TASKS:
        raise ModelError(
            f"{path} is for {manifest.task!r}; this version supports {', '.join(TASKS)}"
        )
    if (crops := manifest.crops) is not None:
        if manifest.head.get("type") != "landmarks" or manifest.task not in ("pose", "face"):
            raise ModelError(f"{path} needs crops, but has no landmarks of a pose or face")
        if crops.around not in ("box", "circle") or min(crops.start, crops.end) < 0:
            raise ModelError(
                f"{path} has crops around {crops.around!r}, not around a box or circle"
            )
    _check_input(path, manifest.input)
    if len(manifest.keypoints) > _MOST_KEYPOINTS:
        raise ModelError(f"{path} has {len(manifest.keypoints)} keypoints")
    return replace(
        manifest,
        name=clean(manifest.name, 80) or manifest.id,
        license=clean(manifest.license, 200),
        source=clean(manifest.source, 300),
        keypoints=tuple(
            clean(name, 60) or f"point {i}" for i, name in enumerate(manifest.keypoints)
        ),
    )


def check_names(model_id: str, version: str) -> None:
    """Raise `ModelError` if an id or version cannot be the name of a folder."""
    if not _ID.fullmatch(model_id) or model_id.lower() in RESERVED:
        raise ModelError(
            f"{model_id[:80]!r} is not a valid model ID: use letters, digits, periods, - and _"
        )
    if not _VERSION.fullmatch(version) or version.lower() in RESERVED:
        raise ModelError(
            f"{version[:80]!r} is not a valid model version: use letters, digits, periods, - and"
            " +, and no reserved name"
        )


def _check_input(path: Path, picture: InputSpec) -> None:
    """Raise `ModelError` for an invalid input."""
    numbers = (*picture.mean, *picture.scale)
    if (
        not (1 <= picture.width <= _MOST_PIXELS and 1 <= picture.height <= _MOST_PIXELS)
        or not all(abs(number) < _MOST_SCALE for number in numbers)
        or not (len(picture.mean) == len(picture.scale) == 3)
        or not 0 <= picture.pad <= 255
    ):
        raise ModelError(
            f"{path} needs a picture of {picture.width} x {picture.height} pixels, mean"
            f" {list(picture.mean)[:3]}, scale {list(picture.scale)[:3]} and pad {picture.pad}, but"
            f" sides have to be 1 to {_MOST_PIXELS}, mean and scale three numbers, and pad 0 to"
            " 255"
        )
    for what, word, choices in (
        ("layout", picture.layout, ("NHWC", "NCHW")),
        ("colour", picture.colour, ("RGB", "BGR")),
        ("resize", picture.resize, ("stretch", "letterbox")),
    ):
        if word not in choices:
            raise ModelError(
                f"{path}: Unknown input {what} {word[:40]!r}; this version supports"
                f" {', '.join(choices)}"
            )


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # 1e999
        raise ValueError(f"{text[:40]} is too large")
    return number


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def load_model(folder: Path) -> Model:
    """Read a model's manifest and labels. Raises `ModelError` that says what is wrong."""
    manifest = read_manifest(folder / MANIFEST_NAME)
    path = _checked(folder, manifest.labels)
    try:
        text = read_plain(path, MAX_LABEL_BYTES, follow=False).decode()
    except OSError as err:
        raise ModelError(f"{path}: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise ModelError(f"{path} is damaged: its labels are not UTF-8") from err
    labels = text.splitlines()
    if len(labels) > MAX_LABELS:
        raise ModelError(f"{path} has {len(labels)} labels; the maximum is {MAX_LABELS}")
    return Model(folder, manifest, numbered(labels))


def _checked(folder: Path, spec: FileSpec) -> Path:
    path = folder / spec.path
    plain = path.name == spec.path and spec.path not in ("", ".", "..") and "\0" not in spec.path
    if not plain or len(spec.path) > _MAX_FILE_NAME:
        raise ModelError(f"{spec.path[:_MAX_FILE_NAME]!r} is outside the folder of the model")
    try:
        with open_plain(path, follow=False) as file:
            if os.fstat(file.fileno()).st_size != spec.size:
                raise ModelError(f"{path} is damaged: it should have {spec.size} bytes")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise ModelError(f"{path}: {err.strerror}") from err
    if digest != spec.sha256:
        raise ModelError(f"{path} is damaged: its SHA-256 differs from the manifest")
    return path
