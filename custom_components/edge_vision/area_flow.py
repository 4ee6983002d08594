"""Zones, lines and masks of a camera: drawn by their corners, and shown in its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import voluptuous as vol
from homeassistant.config_entries import ConfigSubentryFlow, SubentryFlowResult
from homeassistant.const import CONF_NAME, PERCENTAGE, UnitOfTime
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    TextSelector,
    TextSelectorConfig,
)

from .client import NodeError
from .const import (
    CONF_CAMERA,
    CONF_CONFIDENCE,
    CONF_LABELS,
    CONF_LINES,
    CONF_MOTION_MASKS,
    CONF_PRIVACY_MASKS,
    CONF_ZONES,
    MAX_CONFIDENCE,
    MIN_CONFIDENCE,
)
from .flow_picture import FlowPicture
from .hub import EdgeVisionHub
from .node.edge_vision_node.protocol import Command, OutlineRequest, Picture
from .node_log import redact
from .settings import Areas
from .stills import async_get_still

FIELD_POINTS: Final = "points"
FIELD_ITEM: Final = "item"
FIELD_LOITERING: Final = "loitering_s"
FIELD_COUNTING: Final = "counting"
KINDS: Final = (CONF_ZONES, CONF_LINES, CONF_PRIVACY_MASKS, CONF_MOTION_MASKS)
_LEAST_CORNERS: Final = 3
_MOST_CORNERS: Final = 40
_MOST_LOITERING_S: Final = 24 * 3600


class BadShape(Exception):
    """What was entered is no shape; the text is a key of the form's errors."""


class AreaFlow(ConfigSubentryFlow):
    """The steps about areas; `_data` is what a subentry will hold."""

    _hub: EdgeVisionHub
    _data: dict[str, Any]
    _still: bytes | None = None
    _flow_picture: FlowPicture | None = None
    _editing: tuple[str, int] | None = None

    async def async_step_areas(self, _: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Show what there is, and offer what can be done about it."""
        self._editing = None
        options = ["zone", "line", "privacy_mask", "motion_mask"]
        if any(self._data.get(kind) for kind in KINDS):
            options.append("remove")
        return self.async_show_menu(
            step_id="areas",
            menu_options=[*options, "save"],
            description_placeholders={"picture": await self._picture()},
        )

    async def async_step_zone(self, user_input: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Add a zone, or change the one of that name."""
        labels = self._data[CONF_LABELS]
        fields = {
            vol.Required(CONF_NAME): TextSelector(),
            vol.Required(FIELD_POINTS): _POINTS,
            vol.Optional(CONF_LABELS, default=[]): SelectSelector(
                SelectSelectorConfig(
                    options=[
                        SelectOptionDict(value=label, label=label.capitalize()) for label in labels
                    ],
                    multiple=True,
                )
            ),
            vol.Optional(CONF_CONFIDENCE): NumberSelector(
                NumberSelectorConfig(
                    min=MIN_CONFIDENCE,
                    max=MAX_CONFIDENCE,
                    step=1,
                    unit_of_measurement=PERCENTAGE,
                    mode=NumberSelectorMode.BOX,
                )
            ),
            vol.Optional(FIELD_LOITERING): NumberSelector(
                NumberSelectorConfig(
                    min=1,
                    max=_MOST_LOITERING_S,
                    unit_of_measurement=UnitOfTime.SECONDS,
                    mode=NumberSelectorMode.BOX,
                )
            ),
            vol.Required(FIELD_COUNTING, default=False): BooleanSelector(),
        }

        def build(form: Mapping[str, Any]) -> dict[str, Any]:
            return {
                "name": _name(form),
                "points": parse_points(form[FIELD_POINTS], _LEAST_CORNERS),
                "labels": form[CONF_LABELS],
                "confidence": form.get(CONF_CONFIDENCE),
                "loitering_s": form.get(FIELD_LOITERING),
                "counting": form[FIELD_COUNTING],
            }

        return await self._edit("zone", CONF_ZONES, fields, build, user_input)

    async def async_step_line(self, user_input: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Add a line, or change the one of that name."""
        fields = {vol.Required(CONF_NAME): TextSelector(), vol.Required(FIELD_POINTS): _POINTS}

        def build(form: Mapping[str, Any]) -> dict[str, Any]:
            points = parse_points(form[FIELD_POINTS], 2)
            if len(points) != 2 or points[0] == points[1]:
                raise BadShape("not_a_line")
            return {"name": _name(form), "start": points[0], "end": points[1]}

        return await self._edit("line", CONF_LINES, fields, build, user_input)

    async def async_step_privacy_mask(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Add an area that nobody and nothing ever sees."""
        return await self._mask("privacy_mask", CONF_PRIVACY_MASKS, user_input)

    async def async_step_motion_mask(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Add an area in which movement counts for nothing."""
        return await self._mask("motion_mask", CONF_MOTION_MASKS, user_input)

    async def _mask(
        self, step: str, kind: str, user_input: dict[str, Any] | None
    ) -> SubentryFlowResult:
        def build(form: Mapping[str, Any]) -> list[dict[str, float]]:
            return parse_points(form[FIELD_POINTS], _LEAST_CORNERS)

        return await self._edit(
            step, kind, {vol.Required(FIELD_POINTS): _POINTS}, build, user_input
        )

    async def _edit(
        self,
        step: str,
        kind: str,
        fields: dict[Any, Any],
        build: Any,
        user_input: dict[str, Any] | None,
    ) -> SubentryFlowResult:
        """Ask for a shape until it is one; then show it with all others."""
        errors: dict[str, str] = {}
        schema = vol.Schema(fields)
        if user_input is not None:
            try:
                shape = build(user_input)
            except BadShape as err:
                errors[FIELD_POINTS] = str(err)
                schema = self.add_suggested_values_to_schema(schema, user_input)
            else:
                others = [
                    item
                    for item in self._data.get(kind, [])
                    if not isinstance(item, dict) or item["name"] != shape["name"]
                ]
                self._data = {**self._data, kind: [*others, shape]}
                return await self.async_step_areas()
        return self.async_show_form(
            step_id=step,
            data_schema=schema,
            errors=errors,
            description_placeholders={"picture": await self._picture()},
            last_step=False,
        )

    async def async_step_remove(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Remove shapes."""
        items = {
            f"{kind}/{number}": _describe(kind, number, item)
            for kind in KINDS
            for number, item in enumerate(self._data.get(kind, []))
        }
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
        selector = SelectSelector(
            SelectSelectorConfig(
                options=[
                    SelectOptionDict(value=value, label=label) for value, label in items.items()
                ],
                multiple=True,
            )
        )
        return self.async_show_form(
            step_id="remove",
            data_schema=vol.Schema({vol.Required(FIELD_ITEM, default=[]): selector}),
            description_placeholders={"picture": await self._picture()},
            last_step=False,
        )

    async def _picture(self) -> str:
        """Return the camera's picture with all shapes drawn in, as Markdown; or why there is none.

        Nothing of it is kept: it is gone when the flow ends.
        """
        if self._flow_picture is None:
            self._flow_picture = FlowPicture(self.hass)
        try:
            if self._still is None:
                self._still = await async_get_still(self.hass, self._data[CONF_CAMERA])
            areas = Areas.of(self._data)
            request = OutlineRequest(
                zones=areas.zones,
                lines=areas.lines,
                privacy_masks=areas.privacy_masks,
                motion_masks=areas.motion_masks,
            )
            _, jpeg = await self._hub.async_request_picture(
                Command.OUTLINE, request, Picture, picture=self._still
            )
        except (HomeAssistantError, NodeError) as err:
            return f"({redact(str(err))})"
        return self._flow_picture.show(jpeg)

    def async_remove(self) -> None:
        """Forget the picture when the flow ends, however it ends."""
        if self._flow_picture is not None:
            self._flow_picture.remove()


_POINTS = TextSelector(TextSelectorConfig(multiline=False))


def parse_points(text: str, least: int) -> list[dict[str, float]]:
    """Return the corners in a text like `0.1,0.2 0.5,0.2 0.5,0.9`. Raises `BadShape`."""
    points = []
    for pair in text.replace(";", " ").split():
        try:
            x, y = (float(value) for value in pair.split(","))
        except ValueError:
            raise BadShape("not_points") from None
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise BadShape("outside")
        points.append({"x": x, "y": y})
    if not least <= len(points) <= _MOST_CORNERS:
        raise BadShape("too_few_points")
    return points


def _name(form: Mapping[str, Any]) -> str:
    name = str(form[CONF_NAME]).strip()
    if not name or "@" in name:
        raise BadShape("no_name")
    return name


def _describe(kind: str, number: int, item: Any) -> str:
    titles = {
        CONF_ZONES: "Zone",
        CONF_LINES: "Line",
        CONF_PRIVACY_MASKS: "Privacy mask",
        CONF_MOTION_MASKS: "Motion mask",
    }
    name = item["name"] if isinstance(item, dict) else str(number + 1)
    return f"{titles[kind]} {name}"
