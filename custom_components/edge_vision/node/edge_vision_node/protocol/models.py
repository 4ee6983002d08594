"""Models that are added, inspected, removed, or disabled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .device import ModelInfo
from .shapes import Findings


@dataclass(frozen=True, kw_only=True)
class CatalogueModel:
    """A model of the catalog; `installed` is the installed version, or None.

    `download_bytes`: size of the download. `unavailable`: the reason if it cannot run on this
    device, no matter what is installed there.
    """

    id: str
    version: str
    name: str
    task: str
    summary: str
    engines: tuple[str, ...]
    license: str
    source: str
    download_bytes: int
    recommended: bool
    edgetpu: bool = False
    installed: str | None = None
    unavailable: str | None = None


@dataclass(frozen=True, kw_only=True)
class CatalogueAnswer:
    """Result of `catalogue`; `dropped` are the files in the node's folder for new models."""

    models: tuple[CatalogueModel, ...]
    dropped: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InstallModel:
    """`install_model`: download a model of the catalog. Result: `ModelInfo`.

    In the meantime, `progress` is pushed on the same connection: {"type": "progress", "command":
    ID of the command, "progress": `InstallProgress`}.
    """

    model: str


@dataclass(frozen=True, kw_only=True)
class InstallProgress:
    """The progress of an installation."""

    model: str
    file: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, kw_only=True)
class RemoveModel:
    """`remove_model`: delete a model that was added. Result: `Nothing`."""

    model: str


@dataclass(frozen=True, kw_only=True)
class UploadChunk:
    """`upload` (binary, with a part of a file): `upload` is None for the first part.

    Parts are sent in order; `offset` is the number of bytes before this part. Result: `Uploaded`.
    """

    name: str
    offset: int
    upload: str | None = None


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """Result of `upload`: the ID for the next part and for `inspect_model`."""

    upload: str
    size: int


@dataclass(frozen=True, kw_only=True)
class InspectModel:
    """`inspect_model`: inspect a model of the user, test it, and optionally save it.

    Exactly one of `upload` (an ID), `dropped` (a file name) and `url` (HTTPS) selects the model. An
    upload can have several files; `file` is then the name of the model file. `corrections`: changes
    of the proposal, "head.type", "input.width", "labels" …; with `save_as` (a new ID, or with
    `replace` that of another model of the user), the model is saved. The result is `Inspection`,
    binary with a JPEG if the model was tested on a picture.
    """

    upload: str | None = None
    dropped: str | None = None
    url: str | None = None
    file: str | None = None
    corrections: dict[str, Any] = field(default_factory=dict)
    confidence: float = 40.0
    save_as: str | None = None
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelTensor:
    """An input or output of a model; undefined sides are -1."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ModelProposal:
    """The proposed manifest of a model.

    `confidence` is a percentage, `reasons` explain the proposal. `manifest` has the fields that can
    be changed by corrections.
    """

    task: str
    family: str
    confidence: float
    reasons: tuple[str, ...]
    labels: tuple[str, ...]
    manifest: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Result of `inspect_model`.

    `problem` is the reason if the model cannot be used. `proposal` is None if it was not
    recognized, and `findings` if it was not tested. `saved` is the model if it was saved. `heads`
    are the supported families, for corrections.
    """

    file: str
    format: str
    size_bytes: int
    inputs: tuple[ModelTensor, ...]
    outputs: tuple[ModelTensor, ...]
    metadata: dict[str, str]
    proposal: ModelProposal | None = None
    problem: str | None = None
    findings: Findings | None = None
    engine: str | None = None
    accelerator: str | None = None
    inference_ms: float | None = None
    saved: ModelInfo | None = None
    heads: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AllowModel:
    """`allow_model`: enable a model again that crashed its engine; None enables all.

    Result: `NodeStatus`.
    """

    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class QuarantinedModel:
    """A model that was disabled because it crashed its engine.

    `strikes`: number of crashes in a row. `proven`: whether it ran successfully before.
    """

    model: str
    model_version: str
    name: str
    engine: str
    accelerator: str
    strikes: int
    reason: str
    at: str
    proven: bool = True
