"""Models that are added, looked at, removed, or left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .device import ModelInfo
from .shapes import Findings


@dataclass(frozen=True, kw_only=True)
class CatalogueModel:
    """A model of the catalogue; `installed` is the version that the node holds, or None.

    `download_bytes`: how much there is to fetch. `unavailable`: why it cannot run on the node's
    device, whatever is installed there.
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
    """Answer to `catalogue`; `dropped` are files that wait in the node's folder for new models."""

    models: tuple[CatalogueModel, ...]
    dropped: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InstallModel:
    """`install_model`: fetch a model of the catalogue. Answer: `ModelInfo`.

    Meanwhile `progress` is pushed on the connection that asked: {"type": "progress", "command":
    the command's id, "progress": `InstallProgress`}.
    """

    model: str


@dataclass(frozen=True, kw_only=True)
class InstallProgress:
    """How far an installation is."""

    model: str
    file: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, kw_only=True)
class RemoveModel:
    """`remove_model`: delete a model that was added. Answer: `Nothing`."""

    model: str


@dataclass(frozen=True, kw_only=True)
class UploadChunk:
    """`upload` (binary, with a part of a file): `upload` is None for the first part.

    Parts come in order; `offset` is how many bytes came before. Answer: `Uploaded`.
    """

    name: str
    offset: int
    upload: str | None = None


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """Answer to `upload`: the id for the next part and for `inspect_model`."""

    upload: str
    size: int


@dataclass(frozen=True, kw_only=True)
class InspectModel:
    """`inspect_model`: look at a model of the user's own, try it, perhaps keep it.

    Just one of `upload` (an id), `dropped` (a file's name) and `url` (over HTTPS) says which. An
    upload may have several files; `file` then names the model's. `corrections`: what the proposal
    gets wrong, "head.type", "input.width", "labels" …; with `save_as` (a new id, or with `replace`
    that of another model of the user's own) it is kept. The answer is `Inspection`, binary with a
    JPEG where the model was tried on a picture.
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
    """An input or output of a model; a side that is left open is -1."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ModelProposal:
    """How a model would be read: what its manifest would say.

    `confidence` is a percentage, `reasons` say what speaks for it. `manifest` has the fields that
    corrections can change.
    """

    task: str
    family: str
    confidence: float
    reasons: tuple[str, ...]
    labels: tuple[str, ...]
    manifest: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Answer to `inspect_model`.

    `problem` says what keeps the model from being used. `proposal` is None where it was not
    recognised, `findings` where it was not tried. `saved` is the model where it was kept. `heads`
    are the families that this node can read, for corrections.
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
    """`allow_model`: use a model again that crashed its engine; None allows all.

    Answer: `NodeStatus`.
    """

    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class QuarantinedModel:
    """A model that crashed its engine and is not used there any more.

    `strikes`: crashes in a row. `proven`: whether it had run before.
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
