"""Discovery on boards with the files of their kernels, and its messages about what is missing."""

from __future__ import annotations

import mmap
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from edge_vision_node.hardware import discovery
from edge_vision_node.hardware.devices import find_all
from edge_vision_node.hardware.discovery import (
    board_profile,
    describe_hardware,
    find_devices,
    resident_bytes,
)
from edge_vision_node.hardware.host import Container, Host, may_open
from edge_vision_node.hardware.profiles import PROFILES
from edge_vision_node.protocol import AcceleratorInfo, EngineInfo, NodeInfo, read

from .conftest import NodeProcess
from .test_cli import run, run_json

HAILO = "/sys/bus/pci/devices/0000:01:00.0"
BOARDS = Path(__file__).parent / "hardware"
_ESCAPES = {"\\0": "\0", "\\n": "\n", "\\t": "\t"}

# Accelerators offered by the engines on boards with everything installed.
EVERYTHING = {
    "litert": ("cpu", "edgetpu:0", "qnn"),
    "hailort": ("hailo:0",),
    "openvino": ("cpu", "openvino:GPU", "openvino:NPU"),
    "onnxruntime": ("cpu", "tensorrt:0", "cuda:0", "coreml", "qnn", "migraphx:0"),
    "ncnn": ("cpu", "vulkan:0"),
}


def engines(offered: Mapping[str, tuple[str, ...]]) -> tuple[EngineInfo, ...]:
    return tuple(
        EngineInfo(
            id=name,
            name=name.upper(),
            version="1.0",
            accelerators=tuple(AcceleratorInfo(id=item, name=item) for item in accelerators),
        )
        for name, accelerators in offered.items()
    )


CPU_ONLY = engines(dict.fromkeys(EVERYTHING, ("cpu",)))
NOT_INSTALLED = tuple(
    EngineInfo(id=name, name=name.upper(), missing="not installed") for name in EVERYTHING
)

MakeHost = Callable[..., Host]


@pytest.fixture
def board(tmp_path: Path) -> MakeHost:
    """Write the files of a board; `without` omits matching paths, `also` adds lines."""

    def lay_out(
        name: str,
        *,
        without: str | None = None,
        also: tuple[str, ...] = (),
        forbidden: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Host:
        kernel = {"machine": "x86_64", "system": "Linux"}
        lines = (BOARDS / f"{name}.txt").read_text("utf-8").splitlines()
        for line in [item for item in lines if not (without and without in item)] + list(also):
            if not line or line.startswith("#"):
                continue
            path, _, rest = line.partition(" ")
            sign, _, value = rest.partition(" ")
            if path.startswith("@"):
                kernel[path[1:]] = value
                continue
            target = tmp_path / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if sign == "->":
                target.symlink_to(value)
            else:
                content = re.sub(r"\\[0nt]", lambda match: _ESCAPES[match[0]], value)
                target.write_text(content, "utf-8")
        return Host(
            root=tmp_path,
            environment=environment or {},
            may_open_path=lambda node: forbidden is None or forbidden not in str(node),
            **kernel,
        )

    return lay_out


@pytest.mark.parametrize(
    ("name", "found", "profile"),
    [
        (
            "coral_dev_board",
            [("Coral PCIe Accelerator", "litert", "edgetpu:0")],
            "coral_dev_board",
        ),
        ("coral_usb", [("Coral USB Accelerator", "litert", "edgetpu:0")], "coral_usb"),
        ("coral_pcie", [("Coral PCIe Accelerator", "litert", "edgetpu:0")], "coral_pcie"),
        (
            "raspberry_pi_5_hailo_8l",
            [("Hailo-8L", "hailort", "hailo:0")],
            "raspberry_pi_5_hailo_8l",
        ),
        ("raspberry_pi_5_hailo_8", [("Hailo-8", "hailort", "hailo:0")], "raspberry_pi_5_hailo_8"),
        ("raspberry_pi_5_hailo_10h", [("Hailo-10H", "hailort", "hailo:0")], None),
        ("computer_hailo_8", [("Hailo-8 or Hailo-8L", "hailort", "hailo:0")], "hailo_8_m2"),
        (
            "jetson_orin_nano",
            [("NVIDIA Jetson GPU", "onnxruntime", "tensorrt:0")],
            "jetson_orin_nano",
        ),
        ("qualcomm_qcs6490", [("Qualcomm Hexagon NPU", "onnxruntime", "qnn")], "qualcomm_qcs6490"),
        ("intel_n100", [("Intel GPU", "openvino", "openvino:GPU")], "intel_n100"),
        (
            "intel_core_ultra",
            [
                ("Intel NPU", "openvino", "openvino:NPU"),
                ("Intel GPU", "openvino", "openvino:GPU"),
            ],
            "intel_core_ultra",
        ),
        (
            "nvidia_desktop",
            [("NVIDIA GeForce RTX 3060", "onnxruntime", "tensorrt:0")],
            "generic_cpu",
        ),
        ("apple_m2", [("Apple Neural Engine", "onnxruntime", "coreml")], "apple_neural_engine"),
        ("generic_cpu", [], "generic_cpu"),
    ],
)
def test_a_board_that_has_everything_is_ready(
    board: MakeHost, name: str, found: list[tuple[str, str, str]], profile: str | None
) -> None:
    host = board(name)
    devices = find_devices(engines(EVERYTHING), host)
    assert [(item.name, item.engine, item.accelerator) for item in devices] == found
    assert [item.missing for item in devices] == [None] * len(found)
    recognised = board_profile(devices, host)
    assert (recognised.id if recognised else None) == profile


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        # The driver
        ("coral_pcie", {"without": "apex"}, "driver is not loaded: install gasket-dkms"),
        ("computer_hailo_8", {"without": "drivers/hailo"}, "of HailoRT 4 (hailo-all on Raspberry"),
        ("raspberry_pi_5_hailo_10h", {"without": "drivers/hailo1x"}, "of HailoRT 5 (hailo-h10-all"),
        ("jetson_orin_nano", {"without": "/dev/"}, "install JetPack"),
        ("nvidia_desktop", {"without": "drivers/nvidia"}, "NVIDIA's driver is not loaded"),
        ("intel_n100", {"without": "drivers/i915"}, "driver (i915 or xe) is not loaded"),
        ("amd_ryzen", {"without": "drivers/amdgpu"}, "driver amdgpu is not loaded"),
        ("qualcomm_qcs6490", {"without": "/dev/"}, "driver fastrpc is not loaded"),
        ("computer_hailo_8", {"without": "/dev/"}, "missing although its driver is loaded"),
        # The library
        ("coral_usb", {"without": "libedgetpu"}, "install libedgetpu1-std"),
        ("raspberry_pi_5_hailo_8l", {"without": "libhailort"}, "HailoRT is not installed"),
        ("jetson_orin_nano", {"without": "libnvinfer"}, "install the package nvidia-jetpack"),
        ("intel_n100", {"without": "libigdrcl"}, "install intel-opencl-icd"),
        ("amd_ryzen", {"without": "libvulkan"}, "install mesa-vulkan-drivers"),
        # The permission
        (
            "coral_usb",
            {"forbidden": "usb/002/003"},
            "This user has no access to /dev/bus/usb/002/003",
        ),
        (
            "intel_n100",
            {"forbidden": "renderD128"},
            "has no access to /dev/dri/renderD128: add it to",
        ),
        # The engine is installed, but was queried before the device was connected
        ("coral_usb", {}, "LITERT is installed but did not find it: restart the node"),
        ("intel_n100", {}, "OPENVINO is installed but did not find it"),
        # Another build of the engine
        ("jetson_orin_nano", {}, "ONNX Runtime built for this JetPack"),
        ("nvidia_desktop", {}, "package onnxruntime-gpu instead of onnxruntime"),
        ("qualcomm_qcs6490", {}, "Python package onnxruntime-qnn"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(
    board: MakeHost, name: str, change: dict[str, str], sentence: str
) -> None:
    device = find_devices(CPU_ONLY, board(name, **change))[0]
    assert device.missing is not None
    assert sentence in device.missing
    assert device.missing.endswith(".")
    assert not re.search(r"[.!?] [A-Z]", device.missing), "more than one sentence"
    assert device.accelerator is not None, "it also says what it would be"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("coral_usb", "Install the Python package ai-edge-litert."),
        (
            "raspberry_pi_5_hailo_8",
            "Install Hailo's Python package hailo_platform in the version of the driver",
        ),
        ("intel_n100", "Install the Python package openvino."),
        ("apple_m2", "Install the Python package onnxruntime."),
    ],
)
def test_an_engine_that_is_not_there_is_named_by_its_package(
    board: MakeHost, name: str, sentence: str
) -> None:
    (device,) = find_devices(NOT_INSTALLED, board(name))
    assert device.missing is not None
    assert device.missing.startswith(sentence)


def test_an_intel_npu_tells_driver_and_runtime_apart(board: MakeHost) -> None:
    (npu, _) = find_devices(CPU_ONLY, board("intel_core_ultra", without="libze_intel"))
    assert npu.missing == ("The NPU's runtime is not installed: install Intel's linux-npu-driver.")


def test_an_intel_npu_without_its_driver_is_still_found(board: MakeHost) -> None:
    (npu, _) = find_devices(CPU_ONLY, board("intel_core_ultra", without="drivers/intel_vpu"))
    assert npu.missing is not None
    assert "intel_vpu is not loaded" in npu.missing


def test_the_newest_intel_npu_is_found_without_its_driver(board: MakeHost) -> None:
    npu = "/sys/bus/pci/devices/0000:00:0b.0"
    also = (f"{npu}/vendor = 0x8086\\n", f"{npu}/device = 0xfd3e\\n")
    (device,) = find_devices(CPU_ONLY, board("generic_cpu", also=also))
    assert device.name == "Intel NPU"


@pytest.mark.parametrize(("minor", "missing"), [(0, False), (1, True)])
def test_an_nvidia_gpu_is_asked_for_its_own_node(
    board: MakeHost, minor: int, missing: bool
) -> None:
    """It may differ from the position on the bus."""
    gpu = "/proc/driver/nvidia/gpus/0000:0a:00.0/information"
    host = board(
        "nvidia_desktop",
        without="/proc/driver/nvidia",
        also=(f"{gpu} = Model: \\t\\t GeForce\\nDevice Minor: \\t {minor}\\n",),
    )
    (device,) = find_devices(CPU_ONLY, host)
    assert device.name == "GeForce" and device.missing is not None
    assert device.missing.startswith("/dev/nvidia1 is missing") is missing


def test_a_coral_card_is_asked_for_its_own_node(board: MakeHost) -> None:
    also = ("/sys/bus/pci/devices/0000:03:00.0/apex/apex_1/status",)
    (device,) = find_devices(CPU_ONLY, board("coral_pcie", also=also))
    assert device.missing is not None
    assert device.missing.startswith("/dev/apex_1 is missing")


@pytest.mark.parametrize(
    ("named", "made", "wanted"),
    [
        ("h1x-0", "h1x-0", None),  # HailoRT 5.3 and newer
        ("hailo0", "hailo0", None),  # older versions
        (None, "h1x-0", None),  # if the class of the driver is not available
        (None, "hailo0", None),
        ("h1x-3", "h1x-0", "/dev/h1x-3"),
        (None, None, "/dev/h1x-0"),
    ],
)
def test_a_hailo_10h_is_found_by_the_name_that_its_driver_gave_it(
    board: MakeHost, named: str | None, made: str | None, wanted: str | None
) -> None:
    also = [f"/dev/{made}"] if made else []
    if named:
        also.append(f"/sys/class/hailo_chardev/{named}/device_id = 0001:01:00.0")
    host = board("raspberry_pi_5_hailo_10h", without="h1x-0", also=tuple(also))
    (found,) = find_all(host)  # without an engine, which would take precedence
    assert found.name == "Hailo-10H"
    if wanted is None:
        assert found.missing is None
    else:
        assert found.missing is not None
        assert found.missing.startswith(f"{wanted} is missing")


def test_every_hailo_of_its_driver_is_known_by_name(board: MakeHost) -> None:
    host = board("computer_hailo_8", without="device =", also=(f"{HAILO}/device = 0x26a2\\n",))
    (device,) = find_devices(CPU_ONLY, host)
    assert device.name == "Hailo Mars"


def test_a_hailo_on_a_raspberry_pi_that_nothing_tells_apart_is_called_both(board: MakeHost) -> None:
    """For example on the M.2 HAT, whose name does not contain the module."""
    product = "/proc/device-tree/hat/product"
    also = (f"{product} = M.2 HAT+ M Key\\0",)
    host = board("raspberry_pi_5_hailo_8l", without="hat/product", also=also)
    found = find_devices(engines(EVERYTHING), host)
    assert [item.name for item in found] == ["Hailo-8 or Hailo-8L"]
    profile = board_profile(found, host)
    assert profile is not None
    assert profile.name == "Computer with a Hailo-8 or Hailo-8L module"


def test_libedgetpu_counts_sticks_and_cards_each_on_their_own(board: MakeHost) -> None:
    """Inaccessible ones are counted, too; a card without its driver is not."""
    lines = []
    for name, number in (("1-1", 5), ("1-2", 6)):
        stick = f"/sys/bus/usb/devices/{name}"
        lines += [f"{stick}/idVendor = 1a6e\\n", f"{stick}/idProduct = 089a\\n"]
        lines += [f"{stick}/busnum = 1\\n", f"{stick}/devnum = {number}\\n"]
    for address in ("0000:01:00.0", "0000:04:00.0"):
        card = f"/sys/bus/pci/devices/{address}"
        lines += [f"{card}/vendor = 0x1ac1\\n", f"{card}/device = 0x089a\\n"]
    lines.append("/sys/bus/pci/devices/0000:04:00.0/driver -> drivers/apex")
    found = find_all(board("coral_pcie", also=tuple(lines), forbidden="001/005"))
    assert [(item.id, item.address) for item in found] == [
        ("usb:1-1", "usb:0"),
        ("usb:1-2", "usb:1"),
        ("pci:0000:01:00.0", ""),
        ("pci:0000:03:00.0", "pci:0"),
        ("pci:0000:04:00.0", "pci:1"),
    ]


def test_nouveau_is_named(board: MakeHost) -> None:
    driver = "/sys/bus/pci/devices/0000:0a:00.0/driver"
    host = board("nvidia_desktop", without="drivers/nvidia", also=(f"{driver} -> drivers/nouveau",))
    (device,) = find_devices(CPU_ONLY, host)
    assert device.missing is not None
    assert "nouveau cannot run models" in device.missing


def test_a_dsp_that_does_not_run_is_named(board: MakeHost) -> None:
    state = "/sys/class/remoteproc/remoteproc1/state"
    host = board("qualcomm_qcs6490", without="remoteproc1/state", also=(f"{state} = offline\\n",))
    (device,) = find_devices(CPU_ONLY, host)
    assert device.missing is not None
    assert "DSP is not running" in device.missing


@pytest.mark.parametrize(
    ("name", "without", "flag"),
    [
        ("coral_usb", "/dev/", "--volume /dev/bus/usb:/dev/bus/usb"),
        ("coral_pcie", "/dev/", "--device /dev/apex_0"),
        ("raspberry_pi_5_hailo_8l", "/dev/", "--device /dev/hailo0"),
        ("jetson_orin_nano", "/dev/", "--runtime nvidia"),
        ("nvidia_desktop", "/dev/", "--gpus all"),
        ("intel_n100", "/dev/", "--device /dev/dri/renderD128"),
        ("intel_core_ultra", "/dev/accel", "--device /dev/accel/accel0"),
        ("qualcomm_qcs6490", "/dev/", "--device /dev/fastrpc-cdsp"),
    ],
)
def test_a_container_without_the_device_is_told_how_to_start(
    board: MakeHost, name: str, without: str, flag: str
) -> None:
    device = find_devices(CPU_ONLY, board(name, without=without, also=("/.dockerenv",)))[0]
    assert device.missing is not None
    assert "not passed into this container" in device.missing
    assert flag in device.missing


def test_a_device_that_the_containers_rules_forbid_counts_as_not_passed(board: MakeHost) -> None:
    host = board("coral_pcie", also=("/.dockerenv",), forbidden="apex_0")
    (device,) = find_devices(CPU_ONLY, host)
    assert device.missing is not None
    assert "not passed into this container" in device.missing


def test_on_home_assistant_os_the_app_or_its_protection_is_the_answer(board: MakeHost) -> None:
    supervised = {"SUPERVISOR_TOKEN": "x"}
    host = board("coral_pcie", without="/dev/", environment=supervised)
    (device,) = find_devices(CPU_ONLY, host)
    assert device.missing is not None
    assert "turn off its protection mode" in device.missing

    core = Host(root=host.root, environment=supervised, machine="x86_64", system="Linux")
    host.path("/usr/src/homeassistant").mkdir(parents=True)
    assert core.container is Container.HOME_ASSISTANT_OS
    (device,) = find_devices(CPU_ONLY, core)
    assert device.missing is not None
    assert "Edge Vision has no app that can use it yet" in device.missing


def test_musl_is_named_where_an_engine_has_no_package_for_it(board: MakeHost) -> None:
    host = board("coral_pcie", without="libedgetpu", also=("/lib/ld-musl-x86_64.so.1",))
    (device,) = find_devices(NOT_INSTALLED, host)
    assert device.missing is not None
    assert "(musl)" in device.missing


def test_two_sticks_are_two_accelerators_and_only_one_may_be_ready(board: MakeHost) -> None:
    second = "/sys/bus/usb/devices/1-2"
    also = (
        f"{second}/idVendor = 1a6e\\n",
        f"{second}/idProduct = 089a\\n",
        f"{second}/busnum = 1\\n",
        f"{second}/devnum = 4\\n",
        "/dev/bus/usb/001/004",
    )
    host = board("coral_usb", also=also)
    first, other = find_devices(engines(EVERYTHING), host)
    assert (first.accelerator, first.missing) == ("edgetpu:0", None)
    assert other.accelerator == "edgetpu:1"
    assert other.missing is not None


def test_the_accelerator_that_an_engine_offers_is_the_one_that_lacks_nothing(
    board: MakeHost,
) -> None:
    """The stick is not accessible, so the first Edge TPU of the engine is the card."""
    card = "/sys/bus/pci/devices/0000:01:00.0"
    also = (
        f"{card}/vendor = 0x1ac1\\n",
        f"{card}/device = 0x089a\\n",
        f"{card}/driver -> drivers/apex",
        "/dev/apex_0",
    )
    host = board("coral_usb", also=also, forbidden="/dev/bus/usb")
    stick, pcie = find_devices(engines(EVERYTHING), host)
    assert (stick.name, stick.accelerator) == ("Coral USB Accelerator", "edgetpu:1")
    assert stick.missing is not None
    assert (pcie.name, pcie.accelerator) == ("Coral PCIe Accelerator", "edgetpu:0")
    assert pcie.missing is None


def test_an_engine_that_offers_a_second_way_makes_a_device_ready(board: MakeHost) -> None:
    offered = engines({"ncnn": ("cpu", "vulkan:0")})
    (device,) = find_devices(offered, board("intel_n100", without="libigdrcl"))
    assert (device.engine, device.accelerator, device.missing) == ("ncnn", "vulkan:0", None)


def test_an_engine_that_this_version_does_not_have_is_said(board: MakeHost) -> None:
    (device,) = find_devices((), board("coral_pcie"))
    assert device.missing == "This version of Edge Vision has no engine litert."


@pytest.mark.parametrize(("name", "index"), [("rockchip_rk3588", 0), ("amd_ryzen", 1)])
def test_what_no_engine_can_use_is_shown_all_the_same(
    board: MakeHost, name: str, index: int
) -> None:
    device = find_devices(engines(EVERYTHING), board(name))[index]
    assert (device.engine, device.accelerator) == (None, None)
    assert device.missing is not None
    assert "No engine of Edge Vision can use it yet" in device.missing


def test_another_jetson_has_no_profile_instead_of_a_wrong_one(board: MakeHost) -> None:
    model = "/proc/device-tree/model"
    host = board(
        "jetson_orin_nano", without="model =", also=(f"{model} = NVIDIA Jetson AGX Orin\\0",)
    )
    assert board_profile(find_devices((), host), host) is None


def test_board_and_processor_are_read_from_the_board(board: MakeHost) -> None:
    info = describe_hardware(board("intel_n100"))
    assert (info.board, info.cpu, info.machine) == ("MINI S12", "Intel(R) N100", "x86_64")


def test_rubbish_in_sysfs_ends_nothing(board: MakeHost) -> None:
    folder = "/sys/bus/usb/devices/9-9"
    host = board(
        "generic_cpu",
        also=(f"{folder}/idVendor = 18d1", f"{folder}/idProduct = 9302", f"{folder}/busnum = ?"),
    )
    (device,) = find_devices(CPU_ONLY, host)
    assert device.missing is not None
    assert device.missing.startswith("/dev/bus/usb/00?/000 is missing")


def test_every_profile_has_figures_that_make_sense() -> None:
    assert len(PROFILES) == 13
    for name, profile in PROFILES.items():
        assert profile.id == name
        assert profile.best_for
        if profile.watts_min is not None and profile.watts_max is not None:
            assert 0 < profile.watts_min < profile.watts_max
        if profile.price_min_usd is not None and profile.price_max_usd is not None:
            assert 0 < profile.price_min_usd <= profile.price_max_usd


def test_a_device_node_may_be_opened_or_not(tmp_path: Path) -> None:
    assert may_open(Path("/dev/null"))
    assert not may_open(tmp_path / "nothing")
    if os.geteuid() != 0:  # root has access to everything
        node = tmp_path / "node"
        node.touch(mode=stat.S_IRUSR)
        assert not may_open(node)


def test_memory_that_processes_share_counts_once(tmp_path: Path) -> None:
    """64 MiB mapped by two processes count once, not twice."""
    size = 64 * 2**20
    path = tmp_path / "shared"
    path.write_bytes(b"x" * size)
    child = (
        "import mmap, sys\n"
        "file = open(sys.argv[1], 'rb')\n"
        "shared = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "print(sum(shared[::mmap.PAGESIZE]) > 0, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as shared:
        assert sum(shared[:: mmap.PAGESIZE]) > 0  # every page is in memory
        alone = resident_bytes()
        with subprocess.Popen(
            [sys.executable, "-c", child, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"True\n"
            both = resident_bytes([process.pid])
            process.communicate()
    assert alone is not None
    assert both is not None
    assert both - alone < size / 2


def test_where_the_kernel_tells_no_share_the_resident_set_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid, files in {
        "self": {"smaps_rollup": "0-f ---p 0 00:00 0 [rollup]\nRss: 900 kB\nPss: 300 kB\n"},
        "7": {"statm": "5000 100 50 1 0 400 0"},
    }.items():
        (tmp_path / "proc" / pid).mkdir(parents=True)
        for name, text in files.items():
            (tmp_path / "proc" / pid / name).write_text(text)
    monkeypatch.setattr(discovery, "_THIS", Host(root=tmp_path))
    assert resident_bytes([7, 8]) == 300 * 1024 + 100 * os.sysconf("SC_PAGE_SIZE")


def test_a_process_that_is_gone_counts_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert resident_bytes([process.pid]) is not None


def test_the_command_line_lists_what_is_here() -> None:
    document = run_json("hardware")
    for device in document["devices"]:
        assert device["missing"] is None or device["missing"].endswith(".")
    assert document["board_profile"] is None or document["board_profile"]["best_for"]
    shown = run("hardware").stdout
    assert "Accelerators\n" in shown
    assert "Engines\n" in shown


def test_the_command_line_lists_the_kinds_of_boards() -> None:
    assert [item["id"] for item in run_json("hardware", "--profiles")] == list(PROFILES)
    assert "NVIDIA Jetson Orin Nano" in run("hardware", "--profiles").stdout


async def test_a_node_tells_a_hub_of_its_devices(node: NodeProcess) -> None:
    async with node.connect() as hub:
        info = read(NodeInfo, await hub.ask("info"))
    assert info.devices == find_devices(info.engines)
    assert info.board_profile == board_profile(info.devices)
