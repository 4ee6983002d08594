"""Fields and sections of forms that work with the frontend.

The frontend returns a form with its initial values, including those of collapsed sections.
Therefore, forms open with valid values, and sections with errors or unusual values are expanded.

Home Assistant rejects input out of range with a technical message and without showing the form
again. Therefore, such input is passed to the step, which calls `misfits` first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Self, override

import voluptuous as vol
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import section
from homeassistant.helpers.selector import (
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    Selector,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)
from homeassistant.helpers.translation import async_get_translations

from ..const import DOMAIN
from ..markdown import Plain

# Key of an error text in every flow with numbers or sections; its placeholder `misfits` is the
# result of `async_name_misfits`.
DOES_NOT_FIT: Final = "does_not_fit"


def optional(key: str, selector: Selector[Any], value: Any = None) -> dict[vol.Optional, Any]:
    """Return an optional field with a suggested value, if it is valid."""
    fitting = _fitting(selector, value)
    description = None if fitting in (None, "") else {"suggested_value": fitting}
    return {vol.Optional(key, description=description): selector}


def required(
    key: str, selector: Selector[Any], value: Any, default: Any
) -> dict[vol.Required, Any]:
    """Return a required field with a value, or with `default` if the value is invalid."""
    fitting = _fitting(selector, value)
    return {vol.Required(key, default=default if fitting is None else fitting): selector}


class _OutOfRange(float):
    """A number outside the limits of its field."""

    limits: str

    @classmethod
    def of(cls, value: float, limits: str) -> Self:
        number = cls(value)
        number.limits = limits
        return number


class _FormNumber(NumberSelector):
    """A number that is passed to the step even if it is out of range: see `misfits`."""

    @override
    def __call__(self, data: Any) -> float:
        value = float(data)
        config = self.config
        if not config["min"] <= value <= config["max"]:
            unit = config.get("unit_of_measurement")
            limits = f"{config['min']:g} to {config['max']:g}"
            return _OutOfRange.of(value, f"{limits} {unit}" if unit else limits)
        return super().__call__(data)


def number(
    low: float,
    high: float,
    step: float = 1,
    *,
    unit: str | None = None,
    mode: NumberSelectorMode = NumberSelectorMode.BOX,
) -> NumberSelector:
    """Return a box or a slider for a number; the step has to call `misfits`."""
    config = NumberSelectorConfig(min=low, max=high, step=step, mode=mode)
    if unit is not None:
        config["unit_of_measurement"] = unit
    return _FormNumber(config)


def select(
    options: Mapping[str, str],
    *,
    translation_key: str | None = None,
    multiple: bool = False,
    mode: SelectSelectorMode = SelectSelectorMode.DROPDOWN,
) -> SelectSelector:
    """Return a selector of values with labels for those without a translation."""
    config = SelectSelectorConfig(
        options=[SelectOptionDict(value=value, label=label) for value, label in options.items()],
        multiple=multiple,
        mode=mode,
    )
    if translation_key is not None:
        config["translation_key"] = translation_key
    return SelectSelector(config)


def _fitting(selector: Selector[Any], value: Any) -> Any:
    """Return a valid value for a selector (the nearest for numbers), or None."""
    if value is None:
        return None
    try:
        if isinstance(selector, NumberSelector):
            low, high = selector.config.get("min", value), selector.config.get("max", value)
            value = min(max(value, low), high)
        if isinstance(vol.Schema(selector)(value), _OutOfRange):
            return None
    except vol.Invalid, TypeError, ValueError:
        return None
    return value


class _Misfit(dict[str, Any]):
    """Input of a section with invalid values in the fields `names`."""

    names: tuple[str, ...] = ()


class FormSection(section):
    """A section that is passed to the step even if it is invalid: see `misfits`."""

    def __init__(self, fields: Mapping[Any, Any], *, unfolded: bool = True) -> None:
        """Initialize a section with fields."""
        super().__init__(vol.Schema(fields), {"collapsed": not unfolded})

    @override
    def __call__(self, value: Any) -> Any:
        """Validate input."""
        try:
            return super().__call__(value)
        except vol.MultipleInvalid as err:
            if not isinstance(value, Mapping):
                raise
            misfit = _Misfit(value)
            misfit.names = tuple(dict.fromkeys(str(item.path[0]) for item in err.errors))
            return misfit


def folded(fields: Mapping[Any, Any], usual: Mapping[Any, Any]) -> FormSection:
    """Return a section that is expanded if its fields have unusual values."""
    return FormSection(fields, unfolded=_opened(fields) != _opened(usual))


def _opened(fields: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(marker): marker.default() if isinstance(marker, vol.Required) else marker.description
        for marker in fields
    }


def misfits(form: Mapping[str, Any]) -> dict[str, str]:
    """Return the errors of fields and sections with invalid input."""
    return {path[0]: DOES_NOT_FIT for path, _ in _misfits(form)}


async def async_name_misfits(hass: HomeAssistant, step: str, form: Mapping[str, Any]) -> Plain:
    """Return the names of fields with invalid input, and their limits.

    `step` is the location of the texts, such as `options.step.review`.
    """
    category = step.partition(".")[0]
    texts = await async_get_translations(hass, hass.config.language, category, {DOMAIN})
    named = []
    for (*sections, field), limits in _misfits(form):
        where = "".join(f"sections.{name}." for name in sections)
        name = texts.get(f"component.{DOMAIN}.{step}.{where}data.{field}", field)
        named.append(f"{name} ({limits})" if limits else name)
    return Plain(", ".join(named))


def _misfits(form: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the locations of invalid input, and the limits of numbers."""
    for key, value in form.items():
        if isinstance(value, _OutOfRange):
            yield (key,), value.limits
        elif isinstance(value, _Misfit):
            for name in value.names:
                yield (key, name), ""
        elif isinstance(value, Mapping):
            for (name, *_), limits in _misfits(value):
                yield (key, name), limits


def unfold(schema: vol.Schema, names: Collection[str]) -> vol.Schema:
    """Return a form with these sections expanded, such as those with errors."""
    return vol.Schema(
        {
            key: FormSection(kind.schema.schema)
            if isinstance(kind, section) and str(key) in names
            else kind
            for key, kind in schema.schema.items()
        }
    )
