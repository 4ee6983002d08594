"""Zones, lines and masks of a camera: defined by their corners, and shown in its picture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import voluptuous as vol
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigSubentryFlow,
    SubentryFlowResult,
)
from homeassistant.const import CONF_NAME, PERCENTAGE, UnitOfTime
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.selector import (
    BooleanSelector,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
)

from ..api.client import NodeRequestError
from ..areas import (
    FIELD_COUNTING,
    FIELD_LOITERING,
    FIELD_POINTS,
    KINDS,
    BadShape,
    as_text,
    line_from,
    mask_from,
    name_of,
    points_of,
    zone_from,
)
from ..const import (
    CONF_AREAS_ASPECT,
    CONF_CAMERA,
    CONF_CONFIDENCE,
    CONF_LABELS,
    CONF_LIMITS,
    CONF_LINES,
    CONF_MOTION_MASKS,
    CONF_PRIVACY_MASKS,
    CONF_VIDEO_ADDRESS,
    CONF_ZONES,
    DEFAULT_CONFIDENCE,
    MAX_CONFIDENCE,
    MIN_CONFIDENCE,
    SUBENTRY_PIPELINE,
)
from ..markdown import Markdown, Plain, escaped, placeholders
from ..node.edge_vision_node.protocol import Command, OutlineRequest, Picture, redact
from ..runtime.automation_targets import same
from ..runtime.privacy import Masks
from ..runtime.runtime import EntryRuntime
from ..runtime.settings import Areas, camera_masks, may_be_live
from .forms import async_name_misfits, misfits, number
from .picture import FlowPicture
from .preview import async_see

FIELD_ITEM: Final = "item"
# Step → key of its shapes in the data of the subentry.
STEPS: Final = {
    "zone": CONF_ZONES,
    "line": CONF_LINES,
    "privacy_mask": CONF_PRIVACY_MASKS,
    "motion_mask": CONF_MOTION_MASKS,
}
# Location of the texts of the steps.
TEXTS: Final = f"config_subentries.{SUBENTRY_PIPELINE}.step"
_PEOPLE: Final = ("person", "people", "pedestrian", "human")
_MOST_LOITERING_S: Final = 24 * 3600


class AreaFlow(ConfigSubentryFlow):
    """The steps for areas; `_data` is the new data of the subentry."""

    _begun_with: EntryRuntime
    _data: dict[str, Any]
    # (kind, saved name of a zone or line) → current name.
    _renames: dict[tuple[str, str], str]
    _still: bytes | None = None
    # Width by height of the shown picture.
    _aspect: float | None = None
    _flow_picture: FlowPicture | None = None
    # The shape being changed: its kind and index in the list.
    _editing: tuple[str, int] | None = None

    @property
    def _hub(self) -> EntryRuntime:
        """Return the current runtime: the entry may have been reloaded since the flow started."""
        hub: EntryRuntime = getattr(self._get_entry(), "runtime_data", self._begun_with)
        return hub

    async def async_step_areas(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Show all shapes and the menu."""
        self._editing = None
        options = list(STEPS) if may_be_live(self._data) else ["privacy_mask"]
        if any(self._data.get(kind) for kind in KINDS):
            options += ["change", "remove"]
        return self.async_show_menu(
            step_id="areas",
            menu_options=[*options, "save"],
            description_placeholders=placeholders(picture=await self._picture()),
        )

    async def async_step_zone(self, user_input: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Add or change a zone."""
        labels = self._data[CONF_LABELS]
        limits = self._data.get(CONF_LIMITS, {})
        usual = self._data.get(CONF_CONFIDENCE, DEFAULT_CONFIDENCE)
        fields = {
            vol.Required(CONF_NAME): TextSelector(),
            vol.Required(FIELD_POINTS): _POINTS,
            vol.Optional(CONF_LABELS, default=_people(labels)): SelectSelector(
                SelectSelectorConfig(
                    options=[
                        SelectOptionDict(value=label, label=label.capitalize()) for label in labels
                    ],
                    multiple=True,
                )
            ),
            vol.Optional(CONF_CONFIDENCE): number(MIN_CONFIDENCE, MAX_CONFIDENCE, unit=PERCENTAGE),
            vol.Optional(FIELD_LOITERING): number(1, _MOST_LOITERING_S, unit=UnitOfTime.SECONDS),
            vol.Required(FIELD_COUNTING, default=False): BooleanSelector(),
        }

        def build(form: Mapping[str, Any]) -> dict[str, Any]:
            lowest = (
                limits.get(label, {}).get("confidence", usual)
                for label in form[CONF_LABELS] or labels
            )
            return zone_from(form, min(lowest, default=usual))

        return await self._edit("zone", fields, build, user_input)

    async def async_step_line(self, user_input: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Add or change a line."""
        fields = {vol.Required(CONF_NAME): TextSelector(), vol.Required(FIELD_POINTS): _POINTS}
        return await self._edit("line", fields, line_from, user_input)

    async def async_step_privacy_mask(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Add an area that is never analyzed, stored or shown."""
        return await self._mask("privacy_mask", user_input)

    async def async_step_motion_mask(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Add an area in which movement is ignored."""
        return await self._mask("motion_mask", user_input)

    async def _mask(self, step: str, user_input: dict[str, Any] | None) -> SubentryFlowResult:
        return await self._edit(step, {vol.Required(FIELD_POINTS): _POINTS}, mask_from, user_input)

    async def _edit(
        self,
        step: str,
        fields: dict[Any, Any],
        build: Callable[[Mapping[str, Any]], Any],
        user_input: dict[str, Any] | None,
    ) -> SubentryFlowResult:
        """Show the form until the shape is valid, then show all shapes."""
        kind = STEPS[step]
        errors = misfits(user_input or {})
        shapes = list(self._data.get(kind, []))
        suggested: Mapping[str, Any] = {}
        if user_input is not None and errors:
            suggested = user_input
        elif user_input is not None:
            try:
                shape = build(user_input)
                others = list(shapes)
                if self._editing is not None:
                    others.pop(self._editing[1])
                if (name := name_of(shape)) and any(same(name, name_of(item)) for item in others):
                    raise BadShape("name_taken", CONF_NAME)
            except BadShape as err:
                errors[err.field] = str(err)
                suggested = user_input
            else:
                if self._editing is not None:
                    self._note_name(kind, shapes.pop(self._editing[1]), shape)
                place = len(shapes) if self._editing is None else self._editing[1]
                shapes.insert(place, shape)
                self._data = {**self._data, kind: shapes}
                if self._aspect is not None:
                    self._data[CONF_AREAS_ASPECT] = self._aspect
                return await self.async_step_areas()
        elif self._editing is not None:
            suggested = _as_form(shapes[self._editing[1]], self._data[CONF_LABELS])
        schema = self.add_suggested_values_to_schema(vol.Schema(fields), suggested)
        return self.async_show_form(
            step_id=step,
            data_schema=schema,
            errors=errors,
            description_placeholders=placeholders(
                picture=await self._picture(), misfits=await self._misfits(step, user_input)
            ),
            last_step=False,
        )

    def _note_name(self, kind: str, before: Any, after: Any) -> None:
        """Record the new name of a zone or line under its saved name."""
        old, new = name_of(before), name_of(after)
        if old is None or new is None or old == new:
            return
        firsts = [key for key, name in self._renames.items() if key[0] == kind and name == old]
        self._renames[firsts[0] if firsts else (kind, old)] = new

    async def async_step_change(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Choose a shape to change."""
        if user_input is not None:
            kind, _, number = user_input[FIELD_ITEM].partition("/")
            self._editing = kind, int(number)
            step = next(step for step, its_kind in STEPS.items() if its_kind == kind)
            result: SubentryFlowResult = await getattr(self, f"async_step_{step}")()
            return result
        return self.async_show_form(
            step_id="change",
            data_schema=vol.Schema({vol.Required(FIELD_ITEM): self._choice(multiple=False)}),
            description_placeholders=placeholders(picture=await self._picture()),
            last_step=False,
        )

    def _choice(self, *, multiple: bool) -> SelectSelector:
        """Return a selector for all shapes."""
        options = [
            SelectOptionDict(value=f"{kind}/{number}", label=_describe(kind, number, item))
            for kind in KINDS
            for number, item in enumerate(self._data.get(kind, []))
        ]
        return SelectSelector(
            SelectSelectorConfig(options=options, multiple=multiple, mode=SelectSelectorMode.LIST)
        )

    async def async_step_remove(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Remove shapes."""
        if user_input is not None:
            gone = set(user_input[FIELD_ITEM])
            self._data = {
                **self._data,
                **{
                    kind: [
                        item
                        for number, item in enumerate(self._data.get(kind, []))
                        if f"{kind}/{number}" not in gone
                    ]
                    for kind in KINDS
                },
            }
            return await self.async_step_areas()
        schema = vol.Schema({vol.Required(FIELD_ITEM, default=[]): self._choice(multiple=True)})
        return self.async_show_form(
            step_id="remove",
            data_schema=schema,
            description_placeholders=placeholders(picture=await self._picture()),
            last_step=False,
        )

    async def _misfits(self, step: str, form: Mapping[str, Any] | None) -> Plain:
        return await async_name_misfits(self.hass, f"{TEXTS}.{step}", form or {})

    async def _picture(self) -> Markdown:
        """Return the picture of the camera with all shapes as Markdown, or why there is none.

        The picture is not stored; it is deleted when the flow ends.
        """
        try:
            if self._still is None:
                self._still = await async_see(self._hub, self._data, or_still=True)
            areas = Areas.of(self._data)
            request = OutlineRequest(
                zones=areas.zones,
                lines=areas.lines,
                privacy_masks=(await self._privacy_masks()).polygons,
                motion_masks=areas.motion_masks,
            )
            outlined, jpeg = await self._hub.node.async_request_picture(
                Command.OUTLINE, request, Picture, picture=self._still
            )
            self._aspect = outlined.aspect
        except (HomeAssistantError, NodeRequestError) as err:
            return escaped(f"({redact(str(err))})")
        return self._show(jpeg)

    async def _privacy_masks(self) -> Masks:
        """Return all privacy masks: the current ones of this entry, and those of other entries."""
        data = self._data
        others = await self._hub.async_masks_of(
            data.get(CONF_CAMERA), data.get(CONF_VIDEO_ADDRESS), except_for=self._saved_as()
        )
        own = camera_masks(data)
        aspects = () if own.aspect is None or not own.masks else (own.aspect,)
        return Masks(own.masks + others.polygons, (*others.aspects, *aspects))

    def _saved_as(self) -> str | None:
        """Return the ID of the subentry being changed, or None while adding one."""
        if self.source != SOURCE_RECONFIGURE:
            return None
        return self._get_reconfigure_subentry().subentry_id

    def _show(self, jpeg: bytes) -> Markdown:
        """Replace the shown picture and return it as Markdown."""
        if self._flow_picture is None:
            self._flow_picture = FlowPicture(self.hass)
        return self._flow_picture.show(jpeg)

    def async_remove(self) -> None:
        """Remove the picture when the flow ends for any reason."""
        super().async_remove()
        if self._flow_picture is not None:
            self._flow_picture.remove()


_POINTS = TextSelector(TextSelectorConfig(multiline=False))


def _people(labels: Iterable[str]) -> list[str]:
    """Return the default labels of a new zone: people, if the camera detects them."""
    return [label for label in labels if label.casefold() in _PEOPLE]


def _as_form(shape: Any, labels: Collection[str]) -> dict[str, Any]:
    """Return the form data of a shape, with those of its labels that can be selected."""
    text = as_text(points_of(shape))
    if not isinstance(shape, Mapping):
        return {FIELD_POINTS: text}
    known = [label for label in shape.get("labels", ()) if label in labels]
    return {**shape, FIELD_POINTS: text, CONF_LABELS: known}


def _describe(kind: str, number: int, item: Any) -> str:
    titles = {
        CONF_ZONES: "Zone",
        CONF_LINES: "Line",
        CONF_PRIVACY_MASKS: "Privacy mask",
        CONF_MOTION_MASKS: "Motion mask",
    }
    return f"{titles[kind]} {name_of(item) or number + 1}"
