"""What pipeline and node say about how they are doing."""

from __future__ import annotations

import pytest
from homeassistant.helpers import entity_registry as er

from custom_components.edge_vision.const import DOMAIN
from tests.hub.conftest import Cameras, Home, pipeline, until

pytestmark = pytest.mark.usefixtures("run_folders")


def entity_id(home: Home, platform: str, key: str, owner: str | None = None) -> str:
    """Return the entity of a key: of the node, or of the subentry that owns it."""
    unique_id = f"{owner or home.entry.unique_id}_{key}"
    found = er.async_get(home.hass).async_get_entity_id(platform, DOMAIN, unique_id)
    assert found is not None
    return found


@pytest.mark.real_node
async def test_measurements_of_a_pipeline(home: Home, cameras: Cameras) -> None:
    entry = await home.add(pipeline(only_on_request=False, scan_interval=1))
    (owner,) = entry.subentries
    ids = {
        key: entity_id(home, "sensor", key, owner)
        for key in ("inference_time", "latency", "look_rate", "dropped_frames")
    }
    for measurement in ids.values():
        er.async_get(home.hass).async_update_entity(measurement, disabled_by=None)
    await home.hass.config_entries.async_reload(entry.entry_id)
    await until(lambda: home.state(ids["latency"]) not in ("unknown", "unavailable"))
    assert 0 < float(home.state(ids["inference_time"])) < float(home.state(ids["latency"]))
    assert home.attribute(ids["latency"], "unit_of_measurement") == "ms"
    assert float(home.state(ids["dropped_frames"])) >= 0
    shown = home.state(ids["latency"])

    # Each look has its own latency; what is shown of them changes now and then only.
    asked = cameras.porch.asked
    await until(lambda: cameras.porch.asked >= asked + 3)
    assert home.state(ids["latency"]) == shown
    # One look that was late makes the next seem early: the rate is right when both are of the past.
    await until(lambda: home.pipeline.looks_per_second == pytest.approx(1.0, abs=0.4))

    home.kill_node()
    await until(lambda: home.state(ids["latency"]) == "unavailable")
    await until(lambda: home.state(ids["latency"]) not in ("unknown", "unavailable"))


async def test_vital_signs_of_a_node(home: Home) -> None:
    await home.add(pipeline())
    memory = entity_id(home, "sensor", "memory")
    hardware = entity_id(home, "sensor", "hardware")
    connectivity = entity_id(home, "binary_sensor", "connectivity")
    assert home.state(connectivity) == "on"
    assert 30 < float(home.state(memory)) < 2000
    assert home.attribute(memory, "unit_of_measurement") == "MiB"
    assert home.state(hardware) == (
        home.runtime.node.info.hardware.board or home.runtime.node.info.hardware.cpu
    )
    assert home.attribute(hardware, "engines")["ONNX Runtime"]
    assert home.attribute(hardware, "cores") >= 1

    home.kill_node()
    await until(lambda: home.state(connectivity) == "off")
    assert home.state(memory) == "unavailable"
    await until(lambda: home.state(connectivity) == "on")
    assert home.state(memory) != "unavailable"
