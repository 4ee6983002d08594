"""The action `edge_vision.detect`, with every way in which it can be refused or fail."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import voluptuous as vol
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError

from custom_components.edge_vision.const import DOMAIN
from custom_components.edge_vision.runtime.node import EntryNode
from tests.hub.conftest import BLANK, STREET, Cameras, Home, pipeline, until
from tests.small_models import RED, add_embedding, keep_engine, painted


async def detect(home: Home, **data: Any) -> dict[str, Any]:
    answer = await home.hass.services.async_call(
        DOMAIN, "detect", data, blocking=True, return_response=True
    )
    assert isinstance(answer, dict)
    return answer


def allowed(home: Home, picture: bytes, name: str = "picture.jpg") -> str:
    """Put a picture where users may read."""
    folder = Path(home.hass.config.config_dir) / "pictures"
    folder.mkdir(exist_ok=True)
    home.hass.config.allowlist_external_dirs = {str(folder)}
    (folder / name).write_bytes(picture)
    return str(folder / name)


async def test_a_camera_is_looked_at(home: Home, cameras: Cameras) -> None:
    await home.add(pipeline())
    cameras.garden.picture = STREET
    answer = await detect(home, entity_id="camera.garden", labels=["Person"], confidence=40)
    assert answer.keys() == {
        "width",
        "height",
        "task",
        "objects",
        "classes",
        "embedding",
        "summary",
        "model",
        "engine",
        "accelerator",
        "inference_ms",
        "decode_ms",
    }
    assert answer["summary"] == {"person": len(answer["objects"])}
    assert len(answer["objects"]) >= 2
    assert answer["objects"][0].keys() == {"label", "confidence", "box"}
    assert answer["engine"] == "onnxruntime"


@pytest.mark.real_node
async def test_a_model_that_no_camera_can_have_is_asked_by_its_name(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = add_embedding(home.data_folder / "models")
    keep_engine(home.data_folder / "models" / model, "onnxruntime")
    await home.add()
    picture = allowed(home, painted(RED), "red.png")
    # Its files are for ONNX Runtime, whatever the node's own engine is.
    monkeypatch.setattr(EntryNode, "engine", "ncnn")
    answer = await detect(home, path=picture, model="fingerprint")
    assert (answer["task"], answer["engine"]) == ("embedding", "onnxruntime")
    assert answer["embedding"] == pytest.approx([0.6, 0.8])


async def test_what_is_masked_in_any_pipeline_of_a_camera_is_not_looked_at(
    home: Home, cameras: Cameras
) -> None:
    everything = [{"x": x, "y": y} for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    cameras.porch.picture = cameras.garden.picture = STREET
    await home.add(pipeline(), pipeline("Masked", privacy_masks=[everything]))
    assert (await detect(home, entity_id="camera.porch"))["objects"] == []
    assert len((await detect(home, entity_id="camera.garden"))["objects"]) >= 2


async def test_a_file_is_looked_at_and_nothing_seen_is_an_answer(home: Home) -> None:
    await home.add()  # no pipeline is needed
    answer = await detect(home, path=allowed(home, BLANK))
    assert answer["objects"] == []
    assert answer["summary"] == {}
    assert (answer["width"], answer["height"]) == (640, 480)


async def test_nothing_is_kept_of_it(home: Home, cameras: Cameras) -> None:
    await home.add(pipeline())
    await home.until_state("image_processing.front_door", "0")
    cameras.porch.picture = STREET
    await detect(home, entity_id="camera.porch")
    assert home.state("image_processing.front_door") == "0"
    assert home.runtime.last_seq == 0


@pytest.mark.parametrize(
    "data",
    [
        {"entity_id": "camera.porch", "path": "/x.jpg"},
        {"entity_id": "light.porch"},
        {"path": "/x.jpg", "confidence": 0},
        {"path": "/x.jpg", "confidence": 100},
        {"path": "/x.jpg", "confidence": "much"},
        {"path": "/x.jpg", "threshold": 1},
    ],
)
async def test_a_call_of_the_wrong_shape_is_refused(home: Home, data: dict[str, Any]) -> None:
    await home.add()
    with pytest.raises(vol.Invalid):
        await detect(home, **data)


async def refused(home: Home, key: str, **data: Any) -> dict[str, str]:
    """Call and return the placeholders of the error, which is the caller's to put right."""
    with pytest.raises(ServiceValidationError) as caught:
        await detect(home, **data)
    assert caught.value.translation_domain == DOMAIN
    assert caught.value.translation_key == key
    return dict(caught.value.translation_placeholders or {})


async def failed(home: Home, key: str, **data: Any) -> dict[str, str]:
    """Call and return the placeholders of the error, which is no mistake of the caller's."""
    with pytest.raises(HomeAssistantError) as caught:
        await detect(home, **data)
    assert not isinstance(caught.value, ServiceValidationError)
    assert caught.value.translation_domain == DOMAIN
    assert caught.value.translation_key == key
    return dict(caught.value.translation_placeholders or {})


async def test_what_the_caller_can_put_right(home: Home, cameras: Cameras) -> None:
    await home.add()
    good = allowed(home, BLANK)
    await refused(home, "no_source")
    await refused(home, "camera_not_found", entity_id="camera.nowhere")
    assert await refused(home, "path_not_allowed", path="/etc/passwd") == {"path": "/etc/passwd"}
    assert "No such file" in (await refused(home, "path_unreadable", path=good + "x"))["reason"]
    folder = str(Path(good).parent)
    assert "directory" in (await refused(home, "path_unreadable", path=folder))["reason"]
    await refused(home, "picture_unreadable", path=allowed(home, b"rubbish", "rubbish.jpg"))
    placeholders = await refused(home, "unknown_model", path=good, model="yolo")
    assert placeholders == {"model": "yolo", "models": "ssd_mobilenet_v2_coco"}
    placeholders = await refused(home, "unknown_label", path=good, labels=["person", "unicorn"])
    assert placeholders["label"] == "unicorn"


async def test_a_picture_that_is_too_large(
    home: Home, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.add()
    cameras.porch.picture = STREET
    for module in ("services", "runtime.stills"):
        monkeypatch.setattr(f"custom_components.edge_vision.{module}.MAX_PICTURE_BYTES", 1000)
    await refused(home, "picture_too_large", path=allowed(home, STREET))
    await refused(home, "picture_too_large", entity_id="camera.porch")


async def test_a_camera_that_gives_no_picture(home: Home, cameras: Cameras) -> None:
    await home.add()
    cameras.porch.picture = OSError("no route to the camera")
    placeholders = await failed(home, "camera_no_picture", entity_id="camera.porch")
    assert "no route" in placeholders["reason"]
    cameras.porch.picture = None
    await failed(home, "camera_no_picture", entity_id="camera.porch")
    cameras.porch.set_available(False)
    await failed(home, "camera_no_picture", entity_id="camera.porch")


@pytest.mark.real_node
async def test_a_node_that_is_away(home: Home) -> None:
    await home.add()
    path = allowed(home, STREET)
    pid = home.local_node.pid
    os.kill(pid, signal.SIGSTOP)
    call = home.hass.async_create_task(failed(home, "node_unavailable", path=path))
    await until(lambda: home.runtime.node._client._pending)
    os.kill(pid, signal.SIGKILL)
    await call
    await failed(home, "node_unavailable", path=path)
    await until(lambda: home.runtime.node.connected)
    assert (await detect(home, path=path))["summary"]["person"] >= 2


async def test_entries_that_are_not_there_or_not_loaded(home: Home) -> None:
    entry = await home.add()
    path = allowed(home, BLANK)
    assert await detect(home, path=path, config_entry_id=entry.entry_id)
    with pytest.raises(ServiceValidationError):
        await detect(home, path=path, config_entry_id="nonsense")
    await home.hass.config_entries.async_unload(entry.entry_id)
    for data in ({}, {"config_entry_id": entry.entry_id}):
        with pytest.raises(ServiceValidationError):
            await detect(home, path=path, **data)
