"""Kinds of boards with their performance, power, price and recommended use.

The performance is stated by the manufacturers (peak 8-bit operations); power and price are typical
values. The power of modules and whole computers and the performance of the N100 are estimates. The
figures only compare boards with each other; `bench` measures frames per second.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..protocol import BoardProfile, DeviceInfo
from .host import Host

PROFILES: dict[str, BoardProfile] = {
    profile.id: profile
    for profile in (
        BoardProfile(
            id="jetson_orin_nano",
            name="NVIDIA Jetson Orin Nano",
            tops=40.0,
            watts_min=7.0,
            watts_max=15.0,
            price_min_usd=199,
            price_max_usd=199,
            best_for="many cameras, large detectors, poses and several models at once",
        ),
        BoardProfile(
            id="coral_dev_board",
            name="Google Coral Dev Board",
            tops=4.0,
            watts_min=2.0,
            watts_max=4.0,
            price_min_usd=129,
            price_max_usd=129,
            best_for="a separate node for a few cameras, with models compiled for the Edge TPU",
        ),
        BoardProfile(
            id="coral_usb",
            name="Google Coral USB Accelerator",
            tops=4.0,
            watts_min=0.5,
            watts_max=4.5,
            price_min_usd=60,
            price_max_usd=60,
            best_for="upgrading an existing computer for several cameras",
        ),
        BoardProfile(
            id="coral_pcie",
            name="Google Coral PCIe or M.2 Accelerator",
            tops=4.0,
            watts_min=0.5,
            watts_max=2.0,
            price_min_usd=25,
            price_max_usd=40,
            best_for="a small computer with a free M.2 or mini PCIe slot",
        ),
        BoardProfile(
            id="raspberry_pi_5_hailo_8l",
            name="Raspberry Pi 5 with Hailo-8L",
            tops=13.0,
            watts_min=5.0,
            watts_max=12.0,
            price_min_usd=100,
            price_max_usd=100,
            best_for="a quiet node for several cameras with current detectors",
        ),
        BoardProfile(
            id="raspberry_pi_5_hailo_8",
            name="Raspberry Pi 5 with Hailo-8",
            tops=26.0,
            watts_min=6.0,
            watts_max=15.0,
            price_min_usd=160,
            price_max_usd=190,
            best_for="a quiet node for many cameras with current detectors",
        ),
        BoardProfile(
            id="hailo_8_m2",
            name="Computer with a Hailo-8 or Hailo-8L module",
            tops=26.0,
            watts_min=2.5,
            watts_max=8.0,
            price_min_usd=70,
            price_max_usd=200,
            best_for="upgrading a computer with a free M.2 slot for many cameras",
        ),
        BoardProfile(
            id="apple_neural_engine",
            name="Apple A16 or M series, Neural Engine",
            tops=17.0,
            watts_min=1.0,
            watts_max=3.0,
            price_min_usd=None,
            price_max_usd=None,
            best_for="a Mac that is always on anyway",
        ),
        BoardProfile(
            id="qualcomm_qcs6490",
            name="Qualcomm QCS6490",
            tops=12.0,
            watts_min=5.0,
            watts_max=10.0,
            price_min_usd=50,
            price_max_usd=80,
            best_for="cameras and products with their own board",
        ),
        BoardProfile(
            id="esp32_s3",
            name="Espressif ESP32-S3",
            tops=0.01,
            watts_min=0.1,
            watts_max=0.5,
            price_min_usd=3,
            price_max_usd=3,
            best_for="one tiny model next to a sensor or small camera; it cannot run a node",
        ),
        BoardProfile(
            id="intel_n100",
            name="Intel N100",
            tops=1.0,  # 24 execution units x 64 operations x 0.75 GHz; not stated by Intel
            watts_min=6.0,
            watts_max=20.0,
            price_min_usd=120,
            price_max_usd=200,
            best_for="Home Assistant and a few cameras on one small computer",
        ),
        BoardProfile(
            id="intel_core_ultra",
            name="Intel Core Ultra",
            tops=34.0,
            watts_min=15.0,
            watts_max=65.0,
            price_min_usd=400,
            price_max_usd=900,
            best_for="Home Assistant and many cameras on one computer: NPU, GPU and processor",
        ),
        BoardProfile(
            id="generic_cpu",
            name="Any processor, without an accelerator",
            tops=None,
            watts_min=None,
            watts_max=None,
            price_min_usd=None,
            price_max_usd=None,
            best_for="getting started: one to a few cameras, analyzed every few seconds",
        ),
    )
}


_HATS = {"Hailo-8": "raspberry_pi_5_hailo_8", "Hailo-8L": "raspberry_pi_5_hailo_8l"}


def recognize(host: Host, cpu: str, devices: Iterable[DeviceInfo]) -> BoardProfile | None:
    """Return the profile that describes a device best, or None if there is no profile for it.

    Complete boards take precedence over accelerators in a computer, and those over the processor.
    """
    name = _board(host) or _accelerator(host, tuple(devices)) or _processor(cpu)
    return PROFILES.get(name)


def _board(host: Host) -> str | None:
    if host.system == "Darwin" and host.machine == "arm64":
        return "apple_neural_engine"
    board = host.board or ""
    for name in host.compatible:
        if "imx8mq-phanbell" in name:
            return "coral_dev_board"
        if name in ("qcom,qcs6490", "qcom,qcm6490") or "qcs6490" in name:
            return "qualcomm_qcs6490"
        if name.startswith("nvidia,tegra"):
            # Other Jetsons have other figures; no figures are better than wrong ones.
            return "jetson_orin_nano" if "Orin Nano" in board else "jetson_other"
    return None


def _accelerator(host: Host, devices: tuple[DeviceInfo, ...]) -> str | None:
    hailo = next((item for item in devices if item.kind == "hailo"), None)
    if hailo is not None:
        if not hailo.name.startswith("Hailo-8"):
            return "hailo_other"  # with other figures; no figures are better than wrong ones
        if "raspberrypi,5-model-b" in host.compatible and hailo.name in _HATS:
            return _HATS[hailo.name]
        return "hailo_8_m2"
    tpu = next((item for item in devices if item.kind == "edge_tpu"), None)
    if tpu is not None:
        return "coral_usb" if tpu.id.startswith("usb:") else "coral_pcie"
    return None


def _processor(cpu: str) -> str:
    if "N100" in cpu:
        return "intel_n100"
    if "Core(TM) Ultra" in cpu:
        return "intel_core_ultra"
    return "generic_cpu"
