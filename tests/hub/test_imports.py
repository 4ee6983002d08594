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
PURE = ["detections.py", "results.py", "models/heads", "rules"]
PURE_MAY_IMPORT = {"__future__", "collections", "dataclasses", "enum", "functools", "itertools"}
PURE_MAY_IMPORT |= {"math", "typing", "numpy"}
READS_A_CLOCK_OR_A_FILE = {"open", "input", "print"}


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


def name_of(path: Path) -> str:
    return str(path.relative_to(HUB))


def test_there_is_something_to_check() -> None:
    assert len(HUB_FILES) > 20
    assert len(NODE_FILES) > 20


@pytest.mark.parametrize("path", NODE_FILES, ids=name_of)
def test_the_node_knows_no_home_assistant_and_stands_alone(path: Path) -> None:
    for level, module, name in imports(path):
        top = module.split(".")[0]
        assert top not in ("homeassistant", "custom_components", "voluptuous", "probatio")
        if level:
            # Under two names it is a package: only what is inside holds for both.
            depth = len(path.relative_to(NODE).parts)
            assert level <= depth, f"{'.' * level}{module} {name} leaves the package"
        else:
            assert top != "edge_vision_node", "imports inside the node are relative"


@pytest.mark.parametrize("path", NODE_FILES, ids=name_of)
def test_the_node_needs_what_its_project_says(path: Path) -> None:
    for level, module, _ in imports(path):
        top = module.split(".")[0]
        if level == 0 and top not in sys.stdlib_module_names:
            assert top in NODE_REQUIREMENTS, f"{top} is no requirement of the node"


def test_the_protocol_needs_nothing_but_the_standard_library() -> None:
    files = list((NODE / "protocol").glob("*.py"))
    assert len(files) > 5
    for path in files:
        for level, module, _ in imports(path):
            inside = level == 1 and (path.parent / f"{module}.py") in files
            assert inside or (level == 0 and module.split(".")[0] in sys.stdlib_module_names)


@pytest.mark.parametrize("path", HUB_FILES, ids=name_of)
def test_the_hub_takes_only_the_protocol_from_the_node(path: Path) -> None:
    for level, module, name in imports(path):
        if not level:
            assert module.split(".")[0] != "edge_vision_node"
            continue
        target = absolute(path, HUB, level, module, name)
        if target.split(".")[0] == "node":
            assert target.startswith("node.edge_vision_node.protocol"), target


@pytest.mark.parametrize("path", HUB_FILES, ids=name_of)
def test_the_hub_loads_no_native_engine_or_arrays(path: Path) -> None:
    for level, module, _ in imports(path):
        if level == 0:
            top = module.split(".")[0]
            assert top not in NEVER_IN_THE_HUB
            known = {"aiohttp", "homeassistant", "voluptuous", *sys.stdlib_module_names}
            assert top in known, f"{top} may not be there"


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


def pure_files() -> list[Path]:
    return [
        file
        for part in PURE
        for file in ([NODE / part] if part.endswith(".py") else sorted((NODE / part).rglob("*.py")))
    ]


@pytest.mark.parametrize("path", pure_files(), ids=name_of)
def test_heads_rules_and_detections_are_pure(path: Path) -> None:
    inside = {".".join(file.relative_to(NODE).with_suffix("").parts) for file in pure_files()}
    inside |= {"protocol", "errors", "models.manifest"}  # plain types
    for level, module, name in imports(path):
        if level == 0:
            assert module.split(".")[0] in PURE_MAY_IMPORT, f"{module} is not pure"
            continue
        target = absolute(path, NODE, level, module, "")
        whole = absolute(path, NODE, level, module, name)
        reached = {target, whole, f"{target}.__init__", f"{whole}.__init__"}
        assert reached & inside, f"{whole} is not pure"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in READS_A_CLOCK_OR_A_FILE


@pytest.mark.parametrize(
    ("code", "check"),
    [
        ("import homeassistant.core", test_the_node_knows_no_home_assistant_and_stands_alone),
        ("from ... import x", test_the_node_knows_no_home_assistant_and_stands_alone),
        ("import edge_vision_node", test_the_node_knows_no_home_assistant_and_stands_alone),
        ("def f():\n    import cv2", test_the_node_needs_what_its_project_says),
        ("import time", test_heads_rules_and_detections_are_pure),
        ("from ..storage import results", test_heads_rules_and_detections_are_pure),
        ("open('x')", test_heads_rules_and_detections_are_pure),
    ],
)
def test_the_rules_for_the_node_catch_what_they_are_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, check: Callable[[Path], None]
) -> None:
    file = tmp_path / "rules" / "bad.py"
    file.parent.mkdir()
    file.write_text(code)
    monkeypatch.setitem(globals(), "NODE", tmp_path)
    monkeypatch.setitem(globals(), "pure_files", list)
    with pytest.raises(AssertionError):
        check(file)


@pytest.mark.parametrize(
    ("code", "check"),
    [
        (
            "from .node.edge_vision_node import node",
            test_the_hub_takes_only_the_protocol_from_the_node,
        ),
        ("from .node import edge_vision_node", test_the_hub_takes_only_the_protocol_from_the_node),
        ("import edge_vision_node", test_the_hub_takes_only_the_protocol_from_the_node),
        ("def f():\n    import numpy", test_the_hub_loads_no_native_engine_or_arrays),
        ("from PIL import Image", test_the_hub_loads_no_native_engine_or_arrays),
    ],
)
def test_the_rules_for_the_hub_catch_what_they_are_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, check: Callable[[Path], None]
) -> None:
    file = tmp_path / "bad.py"
    file.write_text(code)
    monkeypatch.setitem(globals(), "HUB", tmp_path)
    with pytest.raises(AssertionError):
        check(file)
