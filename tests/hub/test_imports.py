"""Who may import whom: docs/architecture.md says why. Read from the code, so that nothing escapes
by being imported late."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rooms

from tests.pictures import NODE_FOLDER, ROOT

HUB = NODE_FOLDER.parent
NODE = NODE_FOLDER / "edge_vision_node"

HUB_FILES = sorted(path for path in HUB.rglob("*.py") if NODE_FOLDER not in path.parents)
NODE_FILES = sorted(NODE.rglob("*.py"))

# No native code in Home Assistant's process, no second HTTP stack, and nothing that is not there.
NEVER_IN_THE_HUB = {
    "PIL",
    "av",
    "cv2",
    "ncnn",
    "numpy",
    "onnxruntime",
    "requests",
    "scipy",
    "torch",
}
# What the node's own project depends on, by the name it is imported under.
NODE_REQUIREMENTS = {
    {"pillow": "PIL", "pyyaml": "yaml"}.get(name, name.replace("-", "_"))
    for requirement in tomllib.loads((NODE_FOLDER / "pyproject.toml").read_text())["project"][
        "dependencies"
    ]
    for name in re.findall(r"^[\w-]+", requirement)
}
# What takes arrays and times in, and gives dataclasses out.
PURE = [
    "detections.py",
    "findings.py",
    "inference/merge.py",
    "inference/planner.py",
    "models/heads",
    "rules",
    "tracking",
]
PURE_MAY_IMPORT = {
    "__future__",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "itertools",
}
PURE_MAY_IMPORT |= {"math", "typing", "numpy"}
READS_A_CLOCK_OR_A_FILE = {"open", "input", "print"}

HOUSE = rooms.today()
NODE_AT = rooms.NODE
# What still breaks the declared order of scripts/rooms.py. These lists only get shorter: a line
# that is not needed any more fails the tests.
UPWARD: set[str] = set()
IN_CIRCLES: set[str] = set()
ROOMS_IN_CIRCLES: set[str] = set()
LONG: set[str] = set()


def imports(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (level of relative import, module, name) of every import of a file."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.level, node.module or "", alias.name


def absolute(path: Path, root: Path, level: int, module: str, name: str) -> str:
    """Return what a relative import means, as a dotted path below a package."""
    package = list(path.relative_to(root).parent.parts)
    base = package[: len(package) - (level - 1)]
    return ".".join([*base, *([module] if module else []), *([name] if name else [])])


# --- Rules: what is wrong with one file -----------------------------------------------------------


def leaves_the_node(path: Path) -> Iterator[str]:
    """The node knows no Home Assistant and stands alone."""
    for level, module, name in imports(path):
        top = module.split(".")[0]
        if top in ("homeassistant", "custom_components", "voluptuous", "probatio"):
            yield f"imports {top}"
        # Under two names it is a package: only what is inside holds for both.
        if level > len(path.relative_to(NODE).parts):
            yield f"{'.' * level}{module} {name} leaves the package"
        if not level and top == "edge_vision_node":
            yield "imports inside the node are relative"


def needs_what_is_not_required(path: Path) -> Iterator[str]:
    """The node needs what its project says."""
    for level, module, _ in imports(path):
        top = module.split(".")[0]
        if level == 0 and top not in sys.stdlib_module_names and top not in NODE_REQUIREMENTS:
            yield f"{top} is no requirement of the node"


def needs_more_than_the_standard_library(path: Path) -> Iterator[str]:
    """The protocol needs nothing but the standard library."""
    for level, module, _ in imports(path):
        inside = level == 1 and (path.parent / f"{module}.py").is_file()
        if not inside and (level or module.split(".")[0] not in sys.stdlib_module_names):
            yield f"{'.' * level}{module} is not in the standard library"


def takes_more_than_the_protocol(path: Path) -> Iterator[str]:
    """The hub takes only the protocol from the node."""
    for level, module, name in imports(path):
        target = absolute(path, HUB, level, module, name) if level else ""
        of_node = target.split(".")[0] == "node"
        if of_node and not target.startswith("node.edge_vision_node.protocol"):
            yield target
        if not level and module.split(".")[0] == "edge_vision_node":
            yield module


def loads_native_code(path: Path) -> Iterator[str]:
    """The hub loads no native engine or arrays, and nothing that may not be there."""
    known = {"aiohttp", "homeassistant", "voluptuous", *sys.stdlib_module_names}
    for level, module, _ in imports(path):
        top = module.split(".")[0]
        if level == 0 and (top in NEVER_IN_THE_HUB or top not in known):
            yield f"{top} may not be there"


def is_not_pure(path: Path) -> Iterator[str]:
    """Heads, rules and detections take arrays and times and give dataclasses."""
    inside = {".".join(file.relative_to(NODE).with_suffix("").parts) for file in PURE_FILES}
    inside |= {"protocol", "errors", "models.manifest"}  # plain types
    for level, module, name in imports(path):
        if level == 0:
            if module.split(".")[0] not in PURE_MAY_IMPORT:
                yield f"{module} is not pure"
            continue
        target = absolute(path, NODE, level, module, "")
        whole = absolute(path, NODE, level, module, name)
        if not {target, whole, f"{target}.__init__", f"{whole}.__init__"} & inside:
            yield f"{whole} is not pure"
    for node in ast.walk(ast.parse(path.read_text())):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and called.id in READS_A_CLOCK_OR_A_FILE:
            yield f"calls {called.id}"


PURE_FILES = [
    file
    for part in PURE
    for file in ([NODE / part] if part.endswith(".py") else sorted((NODE / part).rglob("*.py")))
]
PROTOCOL_FILES = sorted((NODE / "protocol").glob("*.py"))
RULES: list[tuple[Callable[[Path], Iterator[str]], list[Path]]] = [
    (leaves_the_node, NODE_FILES),
    (needs_what_is_not_required, NODE_FILES),
    (needs_more_than_the_standard_library, PROTOCOL_FILES),
    (takes_more_than_the_protocol, HUB_FILES),
    (loads_native_code, HUB_FILES),
    (is_not_pure, PURE_FILES),
]


@pytest.mark.parametrize(("rule", "files"), RULES, ids=[rule.__name__ for rule, _ in RULES])
def test_no_file_imports_what_it_must_not(
    rule: Callable[[Path], Iterator[str]], files: list[Path]
) -> None:
    assert len(files) > 5
    assert [f"{path.relative_to(HUB)}: {what}" for path in files for what in rule(path)] == []


# --- Rooms ----------------------------------------------------------------------------------------


def test_every_file_has_a_place_in_the_declared_order() -> None:
    assert HOUSE.unplaced == []


def test_every_room_of_the_declared_order_exists() -> None:
    declared = [(HUB, room) for names, _ in rooms.HUB_ORDER for room in names]
    declared += [(NODE, room) for names, _ in rooms.NODE_ORDER for room in names]
    assert [room for folder, room in declared if not (folder / room).exists()] == []
    assert len({room for _, room in declared}) == len(declared)


def test_imports_run_down_the_declared_order() -> None:
    upward = {f"{arrow.importer} -> {arrow.imported}" for arrow in HOUSE.upward}
    assert upward - UPWARD == set(), "imports upwards: see scripts/rooms.py for the order"
    assert UPWARD - upward == set(), "these run downwards now: take them out of UPWARD"


def test_no_files_import_each_other_in_a_circle() -> None:
    in_circles = {file for circle in HOUSE.circles for file in circle}
    assert in_circles - IN_CIRCLES == set(), HOUSE.circles
    assert IN_CIRCLES - in_circles == set(), "no circle any more: take them out of IN_CIRCLES"


def test_no_rooms_import_each_other_in_a_circle() -> None:
    in_circles = {room for circle in HOUSE.room_circles for room in circle}
    assert in_circles - ROOMS_IN_CIRCLES == set(), HOUSE.room_circles
    assert ROOMS_IN_CIRCLES - in_circles == set(), "take them out of ROOMS_IN_CIRCLES"


def test_no_file_is_long() -> None:
    long = {file for _, file in HOUSE.long_files}
    assert long - LONG == set(), f"more than {rooms.LONGEST_FILE} lines"
    assert LONG - long == set(), "these are short now: take them out of LONG"


def test_the_top_of_the_hub_side_holds_what_home_assistant_looks_for() -> None:
    assert len(HOUSE.top_of_hub) <= 30


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a/x.py": "from ..b import y", "b/y.py": "from ..a.x import z"}, "circles"),
        (
            {
                "a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import c",
                "b.py": "def f():\n    from . import a",
            },
            "circles",
        ),
        ({"const.py": "from .runtime import x", "runtime/x.py": ""}, "upward"),
        ({"api/x.py": "from ..flows.y import z", "flows/y.py": ""}, "upward"),
        (
            {"runtime/settings.py": "from .pipeline import x", "runtime/pipeline.py": ""},
            "upward",
        ),
        (
            {
                "node/edge_vision_node/rules/x.py": "from ..tracking import y",
                f"{NODE_AT}/tracking/y.py": "",
            },
            "upward",
        ),
        (
            {
                "runtime/x.py": f"from ..{NODE_AT.replace('/', '.')}.rules import y",
                f"{NODE_AT}/rules/y.py": "",
            },
            "upward",
        ),
        ({"attic/x.py": ""}, "unplaced"),
        ({"runtime/x.py": "\n" * 451}, "long_files"),
    ],
)
def test_what_breaks_the_order_is_found(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    for name, code in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code)
    house = rooms.House(tmp_path)
    broken = ("circles", "upward", "unplaced", "long_files")
    found = {name for name in broken if getattr(house, name)}
    assert expected in found


def test_what_keeps_the_order_is_not_complained_of(tmp_path: Path) -> None:
    for name, code in {
        "sensor.py": "from .runtime.x import y\nfrom . import entity",
        "entity.py": "from .const import D",
        "runtime/x.py": f"from ..{NODE_AT.replace('/', '.')}.protocol import z",
        "const.py": "",
        f"{NODE_AT}/protocol/__init__.py": "from .shapes import z",
        f"{NODE_AT}/protocol/shapes.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code)
    house = rooms.House(tmp_path)
    assert (house.circles, house.room_circles, house.upward, house.unplaced) == ([], [], [], [])
    assert len(house.arrows) == 5
    assert house.floors == 3  # sensor above runtime, which is above the protocol


def test_an_earlier_commit_is_judged_by_where_its_files_lie_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True)

    package = tmp_path / rooms.PACKAGE
    package.mkdir(parents=True)
    (package / "client.py").write_text("from .hub import Hub\n" + "X = 1\n" * 500)
    (package / "hub.py").write_text("class Hub: ...\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "before")
    for before, now in (("client.py", "api/client.py"), ("hub.py", "runtime/node.py")):
        (package / now).parent.mkdir()
        git("mv", str(package / before), str(package / now))
    (package / "api" / "client.py").write_text("X = 1\n" * 400)
    monkeypatch.setattr(rooms, "ROOT", tmp_path)

    earlier = rooms.unpack("HEAD", tmp_path / "earlier")

    assert earlier.files == ["client.py", "hub.py"]
    assert [str(arrow) for arrow in earlier.upward] == ["client.py:1 -> hub.py"]
    assert earlier.long_files == [(501, "client.py")]
    assert rooms.today().upward == []
    assert rooms.today().long_files == []


# --- What is loaded -------------------------------------------------------------------------------

_LOAD = """
import sys
from custom_components import edge_vision
from custom_components.edge_vision import load_modules
load_modules()
print(*(name for name in sys.modules if name.startswith("custom_components.edge_vision")))
"""


def test_the_set_up_leaves_no_module_of_the_hub_to_be_loaded_later() -> None:
    # Between an update and the restart the files on disk are newer than what runs.
    answer = subprocess.run(
        [sys.executable, "-c", _LOAD], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(answer.stdout.split())
    prefix = "custom_components.edge_vision"
    names = (path.relative_to(HUB).with_suffix("").parts for path in HUB_FILES)
    wanted = {".".join((prefix, *parts)).removesuffix(".__init__") for parts in names}
    assert wanted <= loaded
    node = f"{prefix}.node.edge_vision_node"
    others = {name for name in loaded if name.startswith(f"{node}.")}
    assert {name for name in others if not name.startswith(f"{node}.protocol")} == set()


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import homeassistant.core", leaves_the_node),
        ("from ... import x", leaves_the_node),
        ("import edge_vision_node", leaves_the_node),
        ("def f():\n    import cv2", needs_what_is_not_required),
        ("from ..errors import NodeError", needs_more_than_the_standard_library),
        ("import numpy", needs_more_than_the_standard_library),
        ("import time", is_not_pure),
        ("from ..storage import event_log", is_not_pure),
        ("open('x')", is_not_pure),
        ("from ..node.edge_vision_node import node", takes_more_than_the_protocol),
        ("from ..node import edge_vision_node", takes_more_than_the_protocol),
        ("import edge_vision_node", takes_more_than_the_protocol),
        ("def f():\n    import numpy", loads_native_code),
        ("from PIL import Image", loads_native_code),
    ],
)
def test_the_rules_catch_what_they_are_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    rule: Callable[[Path], Iterator[str]],
) -> None:
    file = tmp_path / "rules" / "bad.py"
    file.parent.mkdir()
    file.write_text(code)
    monkeypatch.setitem(globals(), "NODE", tmp_path)
    monkeypatch.setitem(globals(), "HUB", tmp_path)
    monkeypatch.setitem(globals(), "PURE_FILES", [])
    assert list(rule(file))
