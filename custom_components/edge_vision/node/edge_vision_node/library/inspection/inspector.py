"""Inspects a model of the user's own, tries it, and saves it if requested."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...drawing.boxes import annotate, to_jpeg
from ...errors import EngineMissingError, ModelError, NodeError, WorkerError
from ...frames.decode import decode
from ...models.heads import HEAD_TYPES
from ...models.labels import Names
from ...models.names import clean
from ...protocol import Findings, Inspection, ModelInfo, ModelProposal
from ...workers.lane import ModelSite
from ...workers.messages import Probed, ProbedOutput, RunResult
from ...workers.pool import Workers
from ...workers.proof import probe, trial
from ..install import Installer
from ..unpack import remove_folder
from .candidate import Candidate, correct
from .clues import PictureInput, describe, find_picture
from .guess import Guess
from .recognise import further_inputs, recognise

_PROPOSED = ("name", "version", "task", "input", "head", "keypoints", "license", "source", "crops")


_NO_EDGE_TPU = (
    "It is compiled for an Edge TPU and runs on nothing else, and there is none here; connect"
    " one, or use the file for the CPU"
)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The file to inspect, and what to do with it. `picture` is a file to try the model on.

    `replace`: whether this model may replace another one of the user's own.
    """

    path: Path
    picture: bytes
    labels: Path | None = None
    corrections: dict[str, Any] = field(default_factory=dict)
    confidence: float = 40.0
    save_as: str | None = None
    replace: bool = False


@dataclass
class _Seen:
    """The results so far."""

    candidate: Candidate
    problem: str | None = None
    probed: tuple[ProbedOutput, ...] = ()
    guess: Guess | None = None
    document: dict[str, Any] | None = None
    place: ModelSite | None = None
    result: RunResult | None = None
    saved: ModelInfo | None = None


class Inspector:
    """Inspects models. Used from one event loop."""

    def __init__(self, workers: Workers, installer: Installer) -> None:
        """Prepare."""
        self._workers = workers
        self._installer = installer

    async def inspect(self, wish: Wish) -> tuple[Inspection, bytes | None]:
        """Inspect a model; return the result and the annotated picture (JPEG).

        Raises `ModelError` if the file cannot be read, and for invalid corrections or ids.
        """
        if wish.save_as is not None:
            self._installer.require_free(wish.save_as, replace=wish.replace)
        staging = await asyncio.to_thread(self._installer.stage)
        try:
            candidate = await asyncio.to_thread(Candidate, staging, wish.path, wish.labels)
            seen = _Seen(candidate)
            try:
                await self._examine(seen, wish)
            except WorkerError as err:
                seen.problem = (
                    f"It was tested in a separate process, where {err.reason}; it is not used"
                )
            except NodeError as err:
                seen.problem = str(err)
            jpeg = await asyncio.to_thread(_draw, wish, seen)
            return _report(seen), jpeg
        finally:
            await asyncio.to_thread(remove_folder, staging)

    async def _examine(self, seen: _Seen, wish: Wish) -> None:
        """Inspect step by step; earlier results are kept if a later step fails."""
        candidate, content = seen.candidate, seen.candidate.content
        picture = _corrected_picture(find_picture(content, content.metadata), wish.corrections)
        constants = further_inputs(content, picture)
        untried = ""
        try:
            seen.place = await self._place(seen, picture, constants)
        except EngineMissingError as err:
            untried = str(err)
        if seen.place is not None:
            seen.probed = (await _probe(seen.place, wish.picture)).outputs
        try:
            labels = _corrected_labels(wish.corrections) or candidate.labels
            seen.guess = recognise(content, picture, seen.probed, labels)
        except ModelError:
            # If the user names the head, it need not be recognized.
            if "head.type" not in wish.corrections:
                raise
        document = candidate.document(picture, seen.guess, constants)
        correct(document, wish.corrections)
        seen.document = document
        model = await asyncio.to_thread(candidate.write, document, wish.save_as)
        model = self._installer.completed(model)
        if seen.place is None and candidate.for_edge_tpu:
            seen.problem = _NO_EDGE_TPU
            return  # it cannot be used here, only on a device with an Edge TPU
        if seen.place is None:
            seen.problem = f"It was not tested: {untried}"
        else:
            seen.place = ModelSite(model, seen.place.engine, seen.place.accelerator)
            seen.result = await trial(
                model,
                seen.place.engine,
                seen.place.accelerator,
                wish.picture,
                wish.confidence,
                # Compiled files of a saved model are kept.
                self._workers.cache if wish.save_as is not None else None,
            )
        if wish.save_as is not None:
            await self._save(seen)

    async def _place(
        self, seen: _Seen, picture: PictureInput, constants: dict[str, Any]
    ) -> ModelSite:
        """Return where to try the model. Raises `EngineMissingError` or `ModelError`."""
        document = seen.candidate.document(picture, None, constants)
        model = await asyncio.to_thread(seen.candidate.write, document)
        return await self._workers.choose(model, None, None)

    async def _save(self, seen: _Seen) -> None:
        model = await asyncio.to_thread(self._installer.adopt, seen.candidate.folder)
        if seen.place is not None:
            versions = {info.id: info.version for info in await self._workers.engines()}
            version = versions.get(seen.place.engine)
            if version is not None:
                await self._workers.trust.prove(
                    model, seen.place.engine, version, seen.place.accelerator
                )
        seen.saved = model.info()


async def _probe(place: ModelSite, picture: bytes) -> Probed:
    probed = await probe(place.model, place.engine, place.accelerator, picture)
    if any(not output.finite for output in probed.outputs):
        raise ModelError(
            "It returns numbers that are not finite for a picture: it is damaged, or was"
            " converted to a precision that is too low for it"
        )
    return probed


def _corrected_labels(corrections: dict[str, Any]) -> tuple[Names, ...]:
    labels = corrections.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        return ()  # anything but a list of strings is refused when the manifest is written
    return (tuple(labels),) if labels else ()


def _corrected_picture(picture: PictureInput, corrections: dict[str, Any]) -> PictureInput:
    """Apply the user's corrections of the input's size before the model is run."""
    sides = [
        corrections.get(f"input.{side}", value)
        for side, value in (
            ("width", picture.width),
            ("height", picture.height),
        )
    ]
    if not all(isinstance(side, int) and 8 <= side <= 4096 for side in sides):
        raise ModelError("input.width and input.height are numbers of pixels from 8 to 4096")
    return PictureInput(picture.tensor, sides[0], sides[1], picture.layout)


def _draw(wish: Wish, seen: _Seen) -> bytes | None:
    if seen.result is None:
        return None
    found = seen.result.findings
    return to_jpeg(annotate(decode(wish.picture).image, found.objects, found.classes))


def _report(seen: _Seen) -> Inspection:
    candidate, content = seen.candidate, seen.candidate.content
    probed = (*seen.probed, *[None] * (len(content.outputs) - len(seen.probed)))
    result, place = seen.result, seen.place
    findings: Findings | None = result.findings if result else None
    return Inspection(
        file=candidate.name,
        format=content.format,
        size_bytes=candidate.size_bytes,
        inputs=tuple(describe(tensor) for tensor in content.inputs),
        outputs=tuple(
            describe(tensor, item) for tensor, item in zip(content.outputs, probed, strict=True)
        ),
        metadata={
            clean(key): clean(value, 500) for key, value in list(content.metadata.items())[:50]
        },
        proposal=_proposal(seen),
        problem=clean(seen.problem, 2000) if seen.problem else None,
        findings=findings,
        engine=place.engine if place else content.engine,
        accelerator=place.accelerator if place else None,
        inference_ms=result.inference_ms if result else None,
        saved=seen.saved,
        heads=HEAD_TYPES,
    )


def _proposal(seen: _Seen) -> ModelProposal | None:
    document, guess = seen.document, seen.guess
    if document is None:
        return None
    manifest = {key: document[key] for key in _PROPOSED}
    manifest["engines"] = {
        name: {key: value for key, value in engine.items() if key != "files"}
        for name, engine in document["engines"].items()
    }
    return ModelProposal(
        task=str(document["task"]),
        family=str(document["head"].get("type")),
        confidence=guess.confidence if guess else 0.0,
        reasons=tuple(clean(reason, 500) for reason in guess.reasons)
        if guess
        else ("As specified by you",),
        labels=tuple(document["labels"]),
        manifest=manifest,
    )
