"""Accelerators as shown by the operating system, and what is missing to use them.

These functions only read a `Host`: they import no engine and start no device.
`discovery.find_devices` compares the result with what the engines offer.

Sources of identifiers: the kernel drivers (`apex`, `hailo`, `hailo1x`, `i915`, `xe`, `intel_vpu`,
`amdgpu`, `fastrpc`), device trees, and the documentation of the vendors.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .host import Container, Host

_PCI = "/sys/bus/pci/devices"
_USB = "/sys/bus/usb/devices"


@dataclass(frozen=True)
class Found:
    """An accelerator as shown by the operating system.

    Attributes:
        places: (engine, start of the accelerator's ID) of everything that can use it, best first.
        missing: a sentence about what the operating system lacks, or None if nothing is missing.
        package: what to install if the operating system is ready but the engine is missing.
        address: its name in the vendor's library, if needed.
    """

    id: str
    kind: str
    name: str
    places: tuple[tuple[str, str], ...]
    missing: str | None
    package: str
    address: str = ""


@dataclass(frozen=True)
class _PciDevice:
    address: str
    vendor: str
    device: str
    device_class: str
    driver: str | None


def find_all(host: Host) -> tuple[Found, ...]:
    """Return every accelerator of a device, in a fixed order."""
    finders: tuple[Callable[[Host], Iterator[Found]], ...] = (
        _edge_tpus,
        _hailos,
        _jetson,
        _nvidia_gpus,
        _intel_npus,
        _intel_gpus,
        _amd_gpus,
        _amd_npus,
        _qualcomm,
        _apple,
        _rockchip,
    )
    return tuple(found for finder in finders for found in finder(host))


# --- Access to a device from this process ---------------------------------------------------


def _how_to_pass(host: Host, node: str, flag: str | None = None) -> str:
    match host.container:
        case Container.HOME_ASSISTANT_OS:
            return (
                f"Home Assistant OS does not pass {node} to Home Assistant, and Edge Vision has no"
                " app that can use it yet: models run on the processor."
            )
        case Container.APP:
            return (
                f"The app has no access to {node}: turn off its protection mode in Home Assistant"
                " and start it again."
            )
    return f"{node} is not passed into this container: start it with {flag or '--device ' + node}."


def _access(host: Host, node: str, driver: str | None, flag: str | None = None) -> str | None:
    """Return why this process cannot use a device node; `driver` is the reason of its driver."""
    if driver is not None:
        return driver
    if not host.exists(node):
        if host.container is not Container.NONE:
            return _how_to_pass(host, node, flag)
        return f"{node} is missing although its driver is loaded: restart the device."
    if host.may_open(node):
        return None
    if host.container is not Container.NONE:
        return _how_to_pass(host, node, flag)
    group = host.group_of(node)
    return f"This user has no access to {node}: add it to the group {group} and log in again."


def _library(host: Host, pattern: str, text: str) -> str | None:
    """Return `text` if a library is missing and can be installed; there are none for musl."""
    return None if host.is_musl or host.has_library(pattern) else text


def _pci(host: Host, vendor: str) -> Iterator[_PciDevice]:
    for address in host.names(_PCI):
        if host.read(f"{_PCI}/{address}/vendor") == f"0x{vendor}":
            yield _PciDevice(
                address,
                vendor,
                (host.read(f"{_PCI}/{address}/device") or "")[2:],
                (host.read(f"{_PCI}/{address}/class") or "")[2:],
                host.link(f"{_PCI}/{address}/driver"),
            )


def _gpus(host: Host, vendor: str) -> Iterator[_PciDevice]:
    return (device for device in _pci(host, vendor) if device.device_class.startswith("03"))


def _child_node(host: Host, device: _PciDevice, kind: str, pattern: str) -> str:
    """Return the device node that a driver created for a PCI device (`drm/renderD128`)."""
    names = host.names(f"{_PCI}/{device.address}/{kind}", pattern)
    folder = "dri" if kind == "drm" else kind
    default = "renderD128" if kind == "drm" else "accel0"
    return f"/dev/{folder}/{names[0] if names else default}"


# --- Add-on accelerators ------------------------------------------------------------------------

# A Coral stick has the first of these IDs until its firmware is loaded, then the second.
_EDGE_TPU_USB = {("1a6e", "089a"), ("18d1", "9302")}


def _edge_tpus(host: Host) -> Iterator[Found]:
    """Find Edge TPUs. Their addresses are values for the option "device" of libedgetpu's delegate.

    The library counts all connected ones separately by kind, including inaccessible ones.
    """
    library = _library(
        host,
        "libedgetpu.so*",
        "The Edge TPU's library is not installed: install libedgetpu1-std from Coral's packages.",
    )
    package = "Install the Python package ai-edge-litert."
    places = (("litert", "edgetpu:"),)
    sticks = itertools.count()
    for name in host.names(_USB):
        ids = (host.read(f"{_USB}/{name}/idVendor"), host.read(f"{_USB}/{name}/idProduct"))
        if ids not in _EDGE_TPU_USB:
            continue
        bus, number = (host.read(f"{_USB}/{name}/{key}") or "" for key in ("busnum", "devnum"))
        node = f"/dev/bus/usb/{bus.zfill(3)}/{number.zfill(3)}"
        # The number of the stick changes when its firmware is loaded, so one node is not enough.
        flag = "--volume /dev/bus/usb:/dev/bus/usb --device-cgroup-rule 'c 189:* rmw'"
        missing = _access(host, node, None, flag) or library
        yield Found(
            f"usb:{name}",
            "edge_tpu",
            "Coral USB Accelerator",
            places,
            missing,
            package,
            f"usb:{next(sticks)}",
        )
    numbers = itertools.count()
    for index, device in enumerate(item for item in _pci(host, "1ac1") if item.device == "089a"):
        driver, address = None, ""
        if device.driver == "apex":
            address = f"pci:{next(numbers)}"
        else:
            driver = "The Edge TPU's driver is not loaded: install gasket-dkms and restart."
        names = host.names(f"{_PCI}/{device.address}/apex", "apex_*")
        node = f"/dev/{names[0] if names else f'apex_{index}'}"
        yield Found(
            f"pci:{device.address}",
            "edge_tpu",
            "Coral PCIe Accelerator",
            places,
            _access(host, node, driver) or library,
            package,
            address,
        )


# PCI IDs from the drivers of HailoRT 4 (hailo) and 5 (hailo1x).
_HAILO = {"2864": "Hailo-8", "45c4": "Hailo-10H", "43a2": "Hailo-15L", "26a2": "Hailo Mars"}
_HAILO_4 = ("2864",)
_HAILO_CLASS = "/sys/class/hailo_chardev"


def _hailo_name(host: Host, device: _PciDevice) -> str:
    """Return the name of a Hailo accelerator.

    Hailo-8 and Hailo-8L have the same PCI ID. HATs for the Raspberry Pi contain the name, as in the
    overlay `hat_map`; otherwise, both are named.
    """
    name = _HAILO.get(device.device, "Hailo accelerator")
    hat = host.read("/proc/device-tree/hat/product") or ""
    if name == "Hailo-8":
        if hat.endswith("Hailo-8L"):
            return "Hailo-8L"
        if not hat.endswith("Hailo-8"):
            return "Hailo-8 or Hailo-8L"
    return name


def _hailo_node(host: Host, device: _PciDevice, index: int) -> str:
    """Return the device node of a Hailo, which the driver created or would create.

    With both drivers, `device_id` of a node contains its device. The node is called `h1x-0` with
    HailoRT 5.3 and newer, and `hailo0` with older versions.
    """
    for name in host.names(_HAILO_CLASS):
        if host.read(f"{_HAILO_CLASS}/{name}/device_id") == device.address:
            return f"/dev/{name}"
    nodes = [f"/dev/hailo{index}", f"/dev/h1x-{index}"]
    if device.driver == "hailo1x":
        nodes.reverse()
    return next((node for node in nodes if host.exists(node)), nodes[0])


def _hailos(host: Host) -> Iterator[Found]:
    counts: Counter[str | None] = Counter()
    for device in _pci(host, "1e60"):
        older = device.device in _HAILO_4
        driver = None
        if device.driver is None:
            package = "hailo-all" if older else "hailo-h10-all"
            driver = (
                f"Hailo's driver is not loaded: install hailort-pcie-driver of HailoRT"
                f" {4 if older else 5} ({package} on Raspberry Pi OS) and restart."
            )
        node = _hailo_node(host, device, counts[device.driver])
        counts[device.driver] += 1
        missing = _access(host, node, driver) or _library(
            host,
            "libhailort.so*",
            "HailoRT is not installed: install the hailort package in the version of the driver.",
        )
        yield Found(
            f"pci:{device.address}",
            "hailo",
            _hailo_name(host, device),
            (("hailort", "hailo:"),),
            missing,
            "Install Hailo's Python package hailo_platform in the version of the driver.",
        )


# --- NVIDIA ---------------------------------------------------------------------------------------


def _jetson(host: Host) -> Iterator[Found]:
    if not any(name.startswith("nvidia,tegra") for name in host.compatible):
        return
    nodes = ("/dev/nvhost-gpu", "/dev/nvgpu/igpu0/channel")
    node = next((node for node in nodes if host.exists(node)), nodes[0])
    driver = None
    if not host.exists(node) and host.container is Container.NONE:
        driver = "The GPU's driver is not loaded: install JetPack."
    missing = _access(host, node, driver, "--runtime nvidia") or _library(
        host,
        "libnvinfer.so*" if host.container is Container.NONE else "libcuda.so*",
        "CUDA and TensorRT are not installed: install the package nvidia-jetpack.",
    )
    yield Found(
        "board:tegra",
        "gpu",
        "NVIDIA Jetson GPU",
        (("onnxruntime", "tensorrt:"), ("onnxruntime", "cuda:"), ("ncnn", "vulkan:")),
        missing,
        "Install ONNX Runtime built for this JetPack, from NVIDIA's package index for Jetson.",
    )


def _line(text: str, start: str) -> str:
    """Return the rest of the line that starts with `start`, or an empty string."""
    return text.partition(start)[2].partition("\n")[0].strip()


def _nvidia_gpus(host: Host) -> Iterator[Found]:
    for index, device in enumerate(_gpus(host, "10de")):
        driver = None
        if device.driver == "nouveau":
            driver = (
                "The driver nouveau cannot run models: install NVIDIA's own driver and restart."
            )
        elif device.driver is None:
            driver = "NVIDIA's driver is not loaded: install it and restart."
        information = host.read(f"/proc/driver/nvidia/gpus/{device.address}/information") or ""
        model = _line(information, "Model:")
        # The numbers are not always in the order of the bus.
        minor = _line(information, "Device Minor:") or str(index)
        yield Found(
            f"pci:{device.address}",
            "gpu",
            model or "NVIDIA GPU",
            (("onnxruntime", "tensorrt:"), ("onnxruntime", "cuda:"), ("ncnn", "vulkan:")),
            _access(host, f"/dev/nvidia{minor}", driver, "--gpus all"),
            "Install the Python package onnxruntime-gpu instead of onnxruntime.",
        )


# --- Intel and AMD --------------------------------------------------------------------------------

# Meteor, Arrow, Lunar, Panther and Wildcat Lake, from the driver intel_vpu.
_INTEL_NPU = {"7d1d", "ad1d", "643e", "b03e", "fd3e"}
_OPENVINO = "Install the Python package openvino."


def _intel_npus(host: Host) -> Iterator[Found]:
    for device in _pci(host, "8086"):
        if device.driver != "intel_vpu" and device.device not in _INTEL_NPU:
            continue
        driver = None
        if device.driver is None:
            driver = (
                "The NPU's driver intel_vpu is not loaded: it is included in Linux 6.8 and newer."
            )
        node = _child_node(host, device, "accel", "accel*")
        missing = _access(host, node, driver) or _library(
            host,
            "libze_intel_*pu.so*",
            "The NPU's runtime is not installed: install Intel's linux-npu-driver.",
        )
        yield Found(
            f"pci:{device.address}",
            "npu",
            "Intel NPU",
            (("openvino", "openvino:NPU"), ("onnxruntime", "openvino:NPU")),
            missing,
            _OPENVINO,
        )


def _intel_gpus(host: Host) -> Iterator[Found]:
    for device in _gpus(host, "8086"):
        driver = None
        if device.driver not in ("i915", "xe"):
            driver = "The GPU's driver (i915 or xe) is not loaded."
        missing = _access(host, _child_node(host, device, "drm", "renderD*"), driver) or _library(
            host,
            "libigdrcl.so*",
            "The GPU's compute runtime is not installed: install intel-opencl-icd.",
        )
        yield Found(
            f"pci:{device.address}",
            "gpu",
            "Intel GPU",
            (("openvino", "openvino:GPU"), ("onnxruntime", "openvino:GPU"), ("ncnn", "vulkan:")),
            missing,
            _OPENVINO,
        )


def _amd_gpus(host: Host) -> Iterator[Found]:
    for device in _gpus(host, "1002"):
        driver = None
        if device.driver != "amdgpu":
            driver = "The GPU's driver amdgpu is not loaded."
        flag = "--device /dev/kfd --device /dev/dri"
        missing = _access(host, _child_node(host, device, "drm", "renderD*"), driver, flag)
        if missing is None and not host.exists("/opt/rocm") and not host.has_library("libvulkan*"):
            missing = (
                "No compute runtime is installed: install mesa-vulkan-drivers, or ROCm if AMD"
                " supports it on this GPU."
            )
        yield Found(
            f"pci:{device.address}",
            "gpu",
            "AMD GPU",
            (("onnxruntime", "migraphx:"), ("ncnn", "vulkan:")),
            missing,
            "Install the Python package ncnn (Vulkan), or ONNX Runtime with MIGraphX from AMD.",
        )


def _amd_npus(host: Host) -> Iterator[Found]:
    for device in _pci(host, "1022"):
        if device.driver == "amdxdna" or device.device in ("1502", "17f0"):
            text = "No engine of Edge Vision can use it yet; models run on the processor or GPU."
            yield Found(f"pci:{device.address}", "npu", "AMD NPU", (), text, text)


# --- Boards with an accelerator on the chip -----------------------------------------------------


def _qualcomm(host: Host) -> Iterator[Found]:
    if not any(name.startswith("qcom,") for name in host.compatible):
        return
    states = {
        host.read(f"/sys/class/remoteproc/{name}/name"): host.read(
            f"/sys/class/remoteproc/{name}/state"
        )
        for name in host.names("/sys/class/remoteproc")
    }
    nodes = ("/dev/fastrpc-cdsp", "/dev/fastrpc-cdsp-secure", "/dev/adsprpc-smd")
    node = next((node for node in nodes if host.exists(node)), nodes[0])
    driver = None
    if states.get("cdsp") not in (None, "running"):
        driver = "The Hexagon DSP is not running: install the board's DSP firmware and restart."
    elif not host.exists(node) and host.container is Container.NONE:
        driver = "The driver fastrpc is not loaded: use the kernel of the board's manufacturer."
    yield Found(
        "board:qcom",
        "npu",
        "Qualcomm Hexagon NPU",
        (("onnxruntime", "qnn"), ("litert", "qnn")),
        _access(host, node, driver),
        "Install the Python package onnxruntime-qnn.",
    )


def _apple(host: Host) -> Iterator[Found]:
    if host.system == "Darwin" and host.machine == "arm64":
        yield Found(
            "board:apple",
            "npu",
            "Apple Neural Engine",
            (("onnxruntime", "coreml"),),
            None,
            "Install the Python package onnxruntime.",
        )


_ROCKCHIP_NPU = ("rk3588", "rk3588s", "rk3576", "rk3568", "rk3566", "rk3562")


def _rockchip(host: Host) -> Iterator[Found]:
    if any(name == f"rockchip,{chip}" for name in host.compatible for chip in _ROCKCHIP_NPU):
        text = "No engine of Edge Vision can use it yet; models run on the processor."
        yield Found("board:rockchip", "npu", "Rockchip NPU", (), text, text)
