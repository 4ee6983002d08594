"""A folder with an unknown model: its files, and a manifest that is being made."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import ModelError
from ...models.formats import strangers
from ...models.formats.checks import check_external
from ...models.formats.model_file import ModelFile
from ...models.formats.reading import read_model_file
from ...models.labels import Names, from_metadata, read_labels, read_notes
from ...models.manifest import MANIFEST_NAME, SCHEMA, Model, load_model
from ...models.names import MAX_LABEL_BYTES, clean, numbered
from ...plain_files import open_plain, read_plain
from ..download import MAX_MODEL_BYTES, require_space, writing
from ..install import CANDIDATE
from ..unpack import MAX_MEMBERS, is_archive, open_archive, plain_name
from .clues import PictureInput
from .guess import Guess
from .members import beside, is_junk, is_named_for_labels, labels_of, the_model

LABELS_NAME = "labels.txt"
_MOST_TEXTS = 8
# Metadata about the file's format, which the file itself states better.
_OF_FILES = frozenset({"producer", "batch"})
_EDGE_TPU = "edgetpu-custom-op"
# Keys that can be corrected; everything else follows from the file.
_CORRECTABLE = re.compile(
    r"(name|version|task|license|source|keypoints|labels"
    r"|input\.(width|height|layout|colour|resize|mean|scale|pad)"
    r"|head\.[a-z_]+(\.[a-z_]+)*"
    r"|crops|crops\.(detector|start|end|angle|scale|around)"
    r"|engines\.[a-z]+\.(inputs|outputs|layout|dtype|constants))"
)
_PLACEHOLDER = "not known yet"


class Candidate:
    """Puts a file into a folder and writes manifests for it."""

    def __init__(self, folder: Path, path: Path, labels: Path | None) -> None:
        """Copy or unpack a file, and read it. Raises `ModelError` or `StorageError`."""
        self.folder = folder
        self.name = path.name
        if (what := strangers.by_suffix(path.name)) is not None:
            raise ModelError(strangers.refusal(path.name, what))
        if not path.is_dir():
            try:
                open_plain(path).close()
            except OSError as err:
                raise ModelError(f"{path.name} cannot be read: {err.strerror}") from err
        inside = _files_of(path)
        self.size_bytes = sum(item.stat().st_size for item in inside)
        if self.size_bytes > MAX_MODEL_BYTES:
            raise ModelError(
                f"{path.name} has {self.size_bytes >> 20} MiB; the limit is {MAX_MODEL_BYTES >> 20}"
            )
        # Ways to read its label file, the most likely first.
        self.labels: tuple[Names, ...] = read_labels(labels) if labels is not None else ()
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            if path.is_dir():
                main = self._copy(path / the_model(path.name, [item.name for item in inside]))
                texts = _copy_texts(main, inside, Path(aside))
            elif is_archive(path):
                main, texts = self._unpack(path, Path(aside))
            else:
                main, texts = self._copy(path), []
            self.content: ModelFile = read_model_file(main)
            if self.content.beside is not None:
                self.content.beside.unlink()  # it has been read, and the manifest replaces it
            check_external(self.content, folder, {item.name for item in folder.iterdir()})
            self._read_texts(main.name, texts)
        needed = {*self.content.roles.values(), *(folder / x for x in self.content.external)}
        for item in folder.iterdir():
            if item not in needed:
                item.unlink()

    def _read_texts(self, model: str, texts: Sequence[Path]) -> None:
        """Read labels and Ultralytics' metadata from the files beside the model."""
        own = bool(self.content.labels or from_metadata(self.content.metadata.get("names", "")))
        for item in texts:
            if item.name.lower() == "metadata.yaml":
                notes = read_notes(read_plain(item, MAX_LABEL_BYTES))
                self.content.metadata.update(
                    {key: value for key, value in notes.items() if key not in _OF_FILES}
                )
                own = own or "names" in notes
        for item in texts:
            if self.labels or item.name.lower() == "metadata.yaml":
                continue
            named = is_named_for_labels(item.name, model)
            if own and not named:
                continue  # probably prose
            try:
                self.labels = read_labels(item)
            except ModelError:
                # Many models have other JSON or YAML files beside them.
                if named and item.suffix.lower() in (".txt", ".names"):
                    raise

    def _copy(self, path: Path) -> Path:
        content = read_model_file(path)
        needed = [*content.roles.values(), *(path.parent / name for name in content.external)]
        needed += [content.beside] if content.beside is not None else []
        require_space(self.folder, sum(item.stat().st_size for item in needed if item.is_file()))
        check_external(content, path.parent, {item.name for item in path.parent.iterdir()})
        with writing(path.name):
            for item in needed:
                shutil.copyfile(item, self.folder / plain_name(item.name))
        return self.folder / plain_name(path.name)

    def _unpack(self, path: Path, aside: Path) -> tuple[Path, list[Path]]:
        """Unpack the model, and files that may hold its labels into another folder."""
        with open_archive(path) as archive:
            # Checked before anything is written: a checkpoint has hundreds of members.
            main = the_model(path.name, archive.files)
            texts = labels_of(main, archive.files)[:_MOST_TEXTS]
            weights = [item for item in beside(main, archive.files) if item not in texts]
            archive.extract_these([main, *weights], self.folder)
            unpacked = []
            for number, name in enumerate(texts):
                place = aside / str(number)
                place.mkdir()
                archive.extract_these([name], place)
                unpacked.append(place / plain_name(PurePosixPath(name).name))
        return self.folder / plain_name(PurePosixPath(main).name), unpacked

    @property
    def for_edge_tpu(self) -> bool:
        """Return whether the file runs on an Edge TPU only."""
        return _EDGE_TPU in self.content.custom_operators

    def document(
        self, picture: PictureInput, guess: Guess | None, constants: dict[str, Any]
    ) -> dict[str, Any]:
        """Return a manifest; without a guess, one that is sufficient to run the file."""
        content = self.content
        mean, deviation = _scaling(content, guess)
        engine: dict[str, Any] = {
            "files": self._files(),
            "inputs": [picture.tensor.name],
            "outputs": guess.outputs if guess else [item.name for item in content.outputs],
            "constants": constants,
        }
        if picture.tensor.dtype in ("uint8", "int8"):
            engine["dtype"] = "uint8"
        engines = {content.engine: engine}
        if content.format == "ONNX":  # OpenVINO reads this format as well
            engines["openvino"] = engine
        width, height = picture.width, picture.height
        if guess is not None and guess.side is not None and picture.open:
            width = height = guess.side
        name = content.metadata.get("name") or Path(self.name).stem
        return {
            "schema": SCHEMA,
            "id": CANDIDATE,
            "version": "1.0.0",
            "name": clean(name, 80) or "Your own model",
            "task": guess.task if guess else "detection",
            "input": {
                "width": width,
                "height": height,
                "layout": picture.layout,
                "colour": guess.colour if guess else "RGB",
                "resize": guess.resize if guess else "stretch",
                "mean": list(mean),
                "scale": [1 / value for value in deviation],
                "pad": guess.pad if guess else 114,
            },
            "head": guess.head if guess else {"type": _PLACEHOLDER},
            "labels": list(guess.labels) if guess else [],
            "engines": engines,
            "license": clean(content.metadata.get("license", "not stated"), 200),
            "source": clean(f"added by the user from {self.name}", 200),
            "keypoints": list(guess.keypoints) if guess else [],
            "crops": guess.crops if guess else None,
        }

    def _files(self) -> dict[str, dict[str, Any]]:
        roles = dict(self.content.roles)
        if self.for_edge_tpu:
            roles = {"edgetpu": roles["model"]}
        for number, name in enumerate(self.content.external):
            roles[f"data{number}"] = self.folder / name
        return {role: _file(path) for role, path in roles.items()}

    def write(self, document: dict[str, Any], model_id: str | None = None) -> Model:
        """Write a manifest with its labels, and read it back. Raises `ModelError`."""
        labels = document["labels"]
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ModelError("labels: expected a list of texts")
        labels = document["labels"] = list(numbered(labels))
        with writing(LABELS_NAME):
            text = "".join(f"{label}\n" for label in labels)
            (self.folder / LABELS_NAME).write_text(text, "utf-8")
            whole = {**document, "labels": _file(self.folder / LABELS_NAME)}
            if model_id is not None:
                whole["id"] = model_id
            path = self.folder / MANIFEST_NAME
            path.write_text(json.dumps(whole, indent=2) + "\n", "utf-8")
        return load_model(self.folder)


def _files_of(path: Path) -> list[Path]:
    """Return a file, or the files of a folder without links."""
    if not path.is_dir():
        return [path]
    files = sorted(
        item
        for item in path.iterdir()
        if item.is_file() and not item.is_symlink() and not is_junk(item.name)
    )
    if len(files) > MAX_MEMBERS:
        raise ModelError(f"{path.name} has {len(files)} files; the maximum is {MAX_MEMBERS}")
    return files


def _copy_texts(main: Path, inside: Sequence[Path], aside: Path) -> list[Path]:
    """Copy the files that may hold labels from a folder."""
    by_name = {item.name: item for item in inside}
    with writing(aside.name):
        return [
            Path(shutil.copyfile(by_name[name], aside / plain_name(name)))
            for name in labels_of(main.name, by_name)[:_MOST_TEXTS]
        ]


def correct(document: dict[str, Any], corrections: dict[str, Any]) -> None:
    """Apply the user's corrections: "head.type", "input.width", … Raises `ModelError`."""
    for key, value in corrections.items():
        if not _CORRECTABLE.fullmatch(key):
            raise ModelError(
                f"{key} cannot be corrected; supported are name, version, task, license, source,"
                " labels, keypoints, crops.…, input.…, head.… and engines.<engine>.inputs,"
                " outputs, layout, dtype, constants"
            )
        *path, last = key.split(".")
        place = document
        for part in path:
            if place.get(part) is None:
                place[part] = {}
            place = place[part]
            if not isinstance(place, dict):
                raise ModelError(f"{key} cannot be corrected: {part} has no parts")
        place[last] = value


def _scaling(
    content: ModelFile, guess: Guess | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation; metadata takes precedence over a guess."""
    if content.normalised is not None:
        mean, deviation = content.normalised
        if mean and deviation and all(deviation):
            return _three(mean), _three(deviation)
    try:
        words = content.metadata.get("mean_values", ""), content.metadata.get("scale_values", "")
        mean, deviation = (tuple(map(float, text.replace(",", " ").split())) for text in words)
    except ValueError:
        mean = deviation = ()
    if mean and deviation and all(deviation):
        return _three(mean), _three(deviation)
    if guess is not None:
        return guess.mean, guess.deviation
    return (0.0,) * 3, (255.0,) * 3


def _three(values: tuple[float, ...]) -> tuple[float, ...]:
    return values if len(values) == 3 else (values[0],) * 3


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": path.name, "sha256": digest, "size": path.stat().st_size}
