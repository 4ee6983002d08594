"""Descriptions of inspected models, and conversion of form input to corrections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..markdown import Markdown, escaped
from ..node.edge_vision_node.protocol import CatalogueModel, Findings, Inspection, ModelTensor, Task

SECTION_DETAILS: Final = "details"
_MEBIBYTE = 2**20
_MOST_METADATA = 6
_MOST_CHARS = 80


# Descriptions of tasks.
_TASK_WORDS: Final[Mapping[str, str]] = {
    Task.DETECTION: "finds objects",
    Task.CLASSIFICATION: "names the whole picture",
    Task.POSE: "finds postures",
    Task.FACE: "finds faces",
    Task.EMBEDDING: "compares pictures",
    Task.SEGMENTATION: "finds areas",
}
_NOT_FOR_CAMERAS: Final = "not for cameras, only for the Detect action"


def task_words(task: str) -> str:
    """Return the description of a task."""
    return _TASK_WORDS.get(task, task)


def catalogue_line(model: CatalogueModel, *, for_cameras: bool) -> str:
    """Return the label of a catalog entry for a selector."""
    megabytes = f"{model.download_bytes / _MEBIBYTE:.1f} MB"
    to_fetch = megabytes if model.download_bytes else "nothing to download"
    details = [task_words(model.task), to_fetch, model.license]
    if not for_cameras:
        details.insert(0, _NOT_FOR_CAMERAS)
    if model.recommended:
        details.insert(0, "recommended")
    if model.installed is not None:
        details.append(f"replaces version {model.installed}")
    return f"{model.name}: {model.summary} ({', '.join(details)})"


def installed_lines(models: Iterable[CatalogueModel]) -> Markdown:
    """Return the installed models as Markdown."""
    return Markdown(
        "\n".join(
            f"- {escaped(model.name)} ({escaped(task_words(model.task))})" for model in models
        )
    )


def unavailable_lines(models: Iterable[CatalogueModel]) -> Markdown:
    """Return the models that cannot run on this device as Markdown, with the reason."""
    reasons: dict[str, list[str]] = {}
    for model in models:
        if model.unavailable is not None:
            reasons.setdefault(model.unavailable, []).append(model.name)
    return Markdown(
        "\n".join(
            f"- {escaped(', '.join(names))}: {escaped(reason)}" for reason, names in reasons.items()
        )
    )


def report(found: Inspection) -> Markdown:
    """Return the result of an inspection as Markdown."""
    lines = [
        f"**{_plain(found.file)}**: {_plain(found.format)}, {found.size_bytes / _MEBIBYTE:.1f} MB"
    ]
    for what, tensors in (("Inputs", found.inputs), ("Outputs", found.outputs)):
        lines.append(f"- {what}: {'; '.join(map(_tensor, tensors)) or 'none'}")
    for key, value in list(found.metadata.items())[:_MOST_METADATA]:
        lines.append(f"- {_plain(key)}: {_plain(value)}")
    if (proposal := found.proposal) is not None:
        reasons = "; ".join(map(_plain, proposal.reasons))
        lines.append(
            f"- Read as {_plain(proposal.family)} for {_plain(proposal.task)}"
            f" ({proposal.confidence:.0f} %): {reasons}"
        )
    if found.findings is not None:
        task = proposal.task if proposal else Task.DETECTION
        lines.append(
            f"- In the test picture: {_seen(found.findings, task)} ({found.inference_ms:.0f} ms on"
            f" {_plain(str(found.engine))}, {_plain(str(found.accelerator))})"
        )
    if found.problem is not None:
        lines.append(f"\n**{escaped(found.problem)}**")
    return Markdown("\n".join(lines))


def _seen(found: Findings, task: str) -> str:
    if task == Task.EMBEDDING:
        return f"a vector of {len(found.embedding)} numbers"
    if task == Task.SEGMENTATION:
        shares = [f"{_plain(item.label)} {item.confidence:g} % of it" for item in found.classes]
        return ", ".join(shares) or "no part of it is of any class"
    seen = [(item.label, item.confidence) for item in found.objects]
    seen += [(item.label, item.confidence) for item in found.classes]
    text = ", ".join(f"{_plain(label)} {confidence:.0f} %" for label, confidence in seen)
    return text or ("nothing certain" if task == Task.CLASSIFICATION else "nothing")


def _tensor(tensor: ModelTensor) -> str:
    sides = " x ".join("any" if side < 0 else str(side) for side in tensor.shape)
    return (
        f"{_plain(tensor.name) or 'without a name'} {sides or 'one number'} {_plain(tensor.dtype)}"
    )


def _plain(text: str) -> Markdown:
    """Return untrusted text of a file, escaped and limited in length."""
    return escaped(text, _MOST_CHARS)


def as_form(found: Inspection) -> dict[str, Any]:
    """Return the form values of a proposal, or empty values if there is none."""
    if (proposal := found.proposal) is None:
        return {}
    manifest = proposal.manifest
    picture, head = manifest.get("input", {}), manifest.get("head", {})
    details = {
        "width": picture.get("width"),
        "height": picture.get("height"),
        "layout": str(picture.get("layout", "")).lower(),
        "classes": head.get("classes"),
        "iou": head.get("iou_threshold"),
        "keypoints": ", ".join(manifest.get("keypoints", ())),
    }
    return {
        "name": manifest.get("name", ""),
        "task": proposal.task,
        "head": proposal.family,
        "colour": str(picture.get("colour", "RGB")).lower(),
        "resize": picture.get("resize", "stretch"),
        "mean": _numbers(picture.get("mean", ())),
        "scale": _numbers(picture.get("scale", ())),
        "labels": "\n".join(proposal.labels),
        SECTION_DETAILS: {key: value for key, value in details.items() if value not in (None, "")},
    }


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:.8g}" for value in values)


# Form fields → keys of corrections.
_CORRECTIONS = {
    "name": "name",
    "task": "task",
    "head": "head.type",
    "colour": "input.colour",
    "resize": "input.resize",
    "mean": "input.mean",
    "scale": "input.scale",
    "labels": "labels",
    "width": "input.width",
    "height": "input.height",
    "layout": "input.layout",
    "classes": "head.classes",
    "iou": "head.iou_threshold",
    "keypoints": "keypoints",
}
# Fields in the section for details.
DETAIL_CORRECTIONS: Final = tuple(
    _CORRECTIONS[field] for field in ("width", "height", "layout", "classes", "iou", "keypoints")
)
# Families with the number of keypoints in their parameters.
_COUNT_KEYPOINTS = ("blaze", "end_to_end", "yolov8")


def corrections(
    form: Mapping[str, Any], proposed: Mapping[str, Any], before: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the corrections that result from form input.

    Args:
        form: the input.
        proposed: `as_form` of the initial values of the form.
        before: the corrections already included in the proposal.

    Raises:
        ValueError: with the name of the field with invalid numbers.
    """
    result = dict(before)
    form, proposed = _flat(form), _flat(proposed)
    for field, key in _CORRECTIONS.items():
        value = form.get(field, "")
        if value in ("", proposed.get(field)):
            continue
        if field in ("mean", "scale"):
            result[key] = _read_numbers(field, value)
        elif field == "labels":
            result[key] = [line.strip() for line in value.splitlines() if line.strip()]
        elif field in ("width", "height", "classes"):
            result[key] = int(value)
        elif field == "keypoints":
            names = [name.strip() for name in value.replace("\n", ",").split(",") if name.strip()]
            result[key] = names
            if form.get("head") in _COUNT_KEYPOINTS:
                result["head.keypoints"] = len(names)
        else:
            # Translation keys are lowercase; colors and layouts in the manifest are uppercase.
            result[key] = value.upper() if field in ("colour", "layout") else value
    return result


def _flat(form: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**form, **form.get(SECTION_DETAILS, {})}


def _read_numbers(field: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.replace(";", ",").split(",")]
    except ValueError:
        raise ValueError(field) from None
    if len(numbers) not in (1, 3):
        raise ValueError(field)
    return numbers if len(numbers) == 3 else numbers * 3
