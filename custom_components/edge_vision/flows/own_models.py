"""Add your own model: upload it, correct the proposal, test it, and save it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import voluptuous as vol
from homeassistant.components.file_upload import process_uploaded_file
from homeassistant.config_entries import (
    ConfigFlowResult,
)
from homeassistant.const import PERCENTAGE
from homeassistant.core import HomeAssistant
from homeassistant.helpers.selector import (
    FileSelector,
    FileSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.util import slugify

from ..api.client import COMPILE_TIMEOUT_S, NodeRequestError
from ..const import DATA_DIR
from ..markdown import Markdown, Plain, placeholders
from ..node.edge_vision_node.protocol import (
    Command,
    Inspection,
    InspectModel,
    Task,
    UploadChunk,
    Uploaded,
)
from .forms import (
    FormSection,
    async_name_misfits,
    misfits,
    number,
    optional,
    required,
    select,
    unfold,
)
from .model_steps import ModelSteps
from .model_text import (
    DETAIL_CORRECTIONS,
    SECTION_DETAILS,
    as_form,
    corrections,
    report,
)

# Size of the parts of an upload to the node.
_PART_BYTES: Final = 4 * 1024 * 1024
_MODEL_FILES: Final = ".onnx,.tflite,.param,.xml,.hef,.zip,.tar,.gz,.tgz"
_FURTHER_FILES: Final = ".bin,.txt,.data,.json,.yaml,.yml,.names,.csv,.pbtxt"
_AGAIN, _SAVE = "again", "save"


class OwnModelFlow(ModelSteps):
    """The steps for your own model."""

    def __init__(self) -> None:
        """Initialize the flow."""
        super().__init__()
        self._files: list[str] = []
        self._source = InspectModel()
        self._found: Inspection | None = None
        self._shown = Markdown()
        self._corrections: dict[str, Any] = {}
        self._before: dict[str, Any] = {}  # the corrections before the last input
        self._confidence = 40.0
        self._save_as: str | None = None
        self._replace = False
        self._typed: dict[str, Any] = {}  # the last input of the form

    async def async_step_own(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show the menu of sources."""
        options = ["upload", *(["dropped"] if self._catalogue.dropped else []), "address"]
        return self.async_show_menu(
            step_id="own",
            menu_options=options,
            description_placeholders=placeholders(folder=self.hass.config.path(DATA_DIR, "drop")),
        )

    async def async_step_upload(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Upload a file."""
        if self._is_answer(user_input):
            self._files = [user_input[key] for key in ("file", "further") if user_input.get(key)]
            return await self._inspect_from("upload", InspectModel())
        schema = vol.Schema(
            {
                vol.Required("file"): FileSelector(FileSelectorConfig(accept=_MODEL_FILES)),
                vol.Optional("further"): FileSelector(FileSelectorConfig(accept=_FURTHER_FILES)),
            }
        )
        return self._ask_for_file("upload", schema)

    async def async_step_dropped(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Select a file in the node's folder."""
        if self._is_answer(user_input):
            return await self._inspect_from("dropped", InspectModel(dropped=user_input["file"]))
        names = {name: name for name in self._catalogue.dropped}
        schema = vol.Schema({vol.Required("file"): select(names, mode=SelectSelectorMode.LIST)})
        return self._ask_for_file("dropped", schema)

    async def async_step_address(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Enter an address."""
        if self._is_answer(user_input):
            return await self._inspect_from("address", InspectModel(url=user_input["url"]))
        url = TextSelector(TextSelectorConfig(type=TextSelectorType.URL))
        return self._ask_for_file("address", vol.Schema({vol.Required("url"): url}))

    def _ask_for_file(self, step_id: str, schema: vol.Schema) -> ConfigFlowResult:
        result = self.async_show_form(
            step_id=step_id,
            data_schema=schema,
            errors=self._errors("model_unreadable"),
            description_placeholders={"reason": Plain(self._reason)},
            last_step=False,
        )
        self._reason = ""
        return result

    async def _inspect_from(self, step_id: str, source: InspectModel) -> ConfigFlowResult:
        self._back, self._source = step_id, source
        self._found, self._corrections, self._save_as, self._reason = None, {}, None, ""
        self._replace, self._typed = False, {}
        return await self.async_step_inspect()

    async def async_step_inspect(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Wait while the node inspects and tests the model."""
        if self._task is None:
            self._task = self._start(self._inspect())
        if not self._task.done():
            return self._progress("inspect")
        task, self._task = self._task, None
        try:
            self._found = found = await task
        except (NodeRequestError, OSError, ValueError) as err:
            return self._failed(err)
        return self._go_on("measure" if found.saved else "review")

    async def _inspect(self) -> Inspection:
        if self._files:
            upload = None
            for number, file_id in enumerate(self._files):
                upload = await self._upload(file_id, upload, number)
            self._files = []
            self._source = InspectModel(upload=upload)
        source = self._source
        request = InspectModel(
            upload=source.upload,
            dropped=source.dropped,
            url=source.url,
            corrections=self._corrections,
            confidence=self._confidence,
            save_as=self._save_as,
            replace=self._replace,
        )
        found, jpeg = await self._hub.node.async_request_either(
            Command.INSPECT_MODEL, request, Inspection, timeout_s=COMPILE_TIMEOUT_S
        )
        self._shown = self._picture.show(jpeg) if jpeg else Markdown()
        self._back = "review"  # a rejected correction can be changed there
        if found.saved is not None:
            self._saved = found.saved
            await self._hub.node.async_refresh_info()
        return found

    async def _upload(self, file_id: str, upload: str | None, number: int) -> str:
        """Send an uploaded file to the node."""
        name, data = await self.hass.async_add_executor_job(_take_upload, self.hass, file_id)
        for offset in range(0, max(len(data), 1), _PART_BYTES):
            answer = await self._hub.node.async_request(
                Command.UPLOAD,
                UploadChunk(name=name, offset=offset, upload=upload),
                Uploaded,
                picture=data[offset : offset + _PART_BYTES],
            )
            upload = answer.upload
            done = (number + min(1.0, (offset + _PART_BYTES) / max(len(data), 1))) / 2
            self.async_update_progress(min(done, 0.9))
        assert upload is not None  # at least one part is sent, even if empty
        return upload

    async def async_step_review(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show the result, and let the user correct it, test it again, or save it."""
        found = self._found
        assert found is not None
        proposed = as_form(found)
        typed, self._typed = self._typed, {}
        errors = self._errors("model_refused")
        if self._is_answer(user_input):
            typed, errors = user_input, misfits(user_input)
            try:
                changed = {} if errors else corrections(user_input, proposed, self._corrections)
            except ValueError as err:
                errors = {str(err): "no_numbers"}
            if not errors:
                return await self._take_review(user_input, changed)
        schema = self.add_suggested_values_to_schema(self._review_schema(found, proposed), typed)
        result = self.async_show_form(
            step_id="review",
            data_schema=unfold(schema, errors),
            errors=errors,
            description_placeholders=placeholders(
                report=report(found),
                picture=self._shown,
                reason=Plain(self._reason),
                misfits=await async_name_misfits(self.hass, "options.step.review", typed),
            ),
            last_step=False,
        )
        self._reason = ""
        return result

    async def _take_review(self, form: dict[str, Any], changed: dict[str, Any]) -> ConfigFlowResult:
        """Test the model with the corrections, and save it if requested."""
        self._before, self._corrections = self._corrections, changed
        self._confidence = float(form["confidence"])
        save = form["then"] == _SAVE
        self._save_as = self._free_id(form.get("name", "")) if save else None
        self._reason, self._replace = "", False
        if self._save_as in self._own:
            self._typed = form
            return await self.async_step_taken()
        return await self.async_step_inspect()

    def _review_schema(self, found: Inspection, values: dict[str, Any]) -> vol.Schema:
        def text(key: str, *, multiline: bool = False) -> dict[vol.Optional, TextSelector]:
            selector = TextSelector(TextSelectorConfig(multiline=multiline))
            return optional(key, selector, values.get(key))

        def choice(
            key: str, options: list[str], default: str, translation_key: str | None = None
        ) -> dict[vol.Required, Any]:
            config = SelectSelectorConfig(
                options=[SelectOptionDict(value=item, label=item) for item in options],
                mode=SelectSelectorMode.DROPDOWN,
            )
            if translation_key is not None:
                config["translation_key"] = translation_key
            return required(key, SelectSelector(config), values.get(key), default)

        heads = list(found.heads)
        then = SelectSelector(
            SelectSelectorConfig(
                options=[_AGAIN, _SAVE], mode=SelectSelectorMode.LIST, translation_key="then"
            )
        )
        usable = found.proposal is not None and found.problem is None
        return vol.Schema(
            {
                **text("name"),
                **choice("task", [task.value for task in Task], Task.DETECTION, "task"),
                **choice("head", heads, heads[0] if heads else ""),
                **choice("colour", ["rgb", "bgr"], "rgb", "colour"),
                **choice("resize", ["stretch", "letterbox"], "stretch", "resize"),
                **text("mean"),
                **text("scale"),
                **text("labels", multiline=True),
                vol.Required(SECTION_DETAILS): FormSection(
                    _details(values.get(SECTION_DETAILS, {})), unfolded=self._details_corrected
                ),
                vol.Required("confidence", default=self._confidence): number(
                    1, 99, unit=PERCENTAGE, mode=NumberSelectorMode.SLIDER
                ),
                vol.Required("then", default=_SAVE if usable else _AGAIN): then,
            }
        )

    @property
    def _details_corrected(self) -> bool:
        """Return whether the section for details has corrections."""
        return any(key in self._corrections for key in DETAIL_CORRECTIONS)

    @property
    def _own(self) -> dict[str, str]:
        """Return the models of the user, ID → name."""
        others = {item.id for item in self._catalogue.models}
        return {key: name for key, name in self._removable.items() if key not in others}

    def _free_id(self, name: str) -> str:
        """Return an ID for a name that is not used by an included model or the catalog."""
        wanted = slugify(name)[:60] or "model"
        info = self._hub.node.info
        taken = {item.id for item in self._catalogue.models}
        taken |= {info.default_model} if info else set()
        return f"{wanted}_2" if wanted in taken else wanted

    async def async_step_taken(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask whether to replace the model with the same name."""
        assert self._save_as is not None
        return self.async_show_menu(
            step_id="taken",
            menu_options=["replace", "rename"],
            description_placeholders=placeholders(
                model=self._own.get(self._save_as, self._save_as)
            ),
        )

    async def async_step_replace(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Replace the other model."""
        self._replace = True
        return await self.async_step_inspect()

    async def async_step_rename(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Return to the form to change the name, with its input kept."""
        self._corrections = self._before
        return await self.async_step_review()


def _details(values: Mapping[str, Any]) -> dict[Any, Any]:
    """Return the fields for details: the size of the picture, the parameters of the family."""
    layout = SelectSelector(
        SelectSelectorConfig(
            options=["nchw", "nhwc"], mode=SelectSelectorMode.DROPDOWN, translation_key="layout"
        )
    )
    return {
        **optional("width", number(8, 4096), values.get("width")),
        **optional("height", number(8, 4096), values.get("height")),
        **optional("layout", layout, values.get("layout")),
        **optional("classes", number(1, 50_000), values.get("classes")),
        **optional("iou", number(0.05, 0.95, 0.01), values.get("iou")),
        **optional("keypoints", TextSelector(), values.get("keypoints")),
    }


def _take_upload(hass: HomeAssistant, file_id: str) -> tuple[str, bytes]:
    """Return name and content of an uploaded file, and delete it."""
    with process_uploaded_file(hass, file_id) as path:
        return Path(path).name, Path(path).read_bytes()
