"""Show which part of the package imports which, and what runs against the declared order.

    .venv/bin/python scripts/rooms.py              the working tree
    .venv/bin/python scripts/rooms.py --at v0.1.0  an earlier commit, for comparison

A room is a folder, or a file that lies beside folders. Rooms import what stands below them in the
declared order, nothing else. Every import counts, also those inside functions and those for type
checkers, because they make two files depend on each other all the same.

The files of an earlier commit are judged by where they lie today, as far as Git recognizes them.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
PACKAGE = "custom_components/edge_vision"
NODE = "node/edge_vision_node"
LONGEST_FILE = 450
# One method from one paper: easier to follow in one piece.
LONG_FILES = {f"{NODE}/tracking/tracker.py"}

# Rooms that know nothing of each other, and what they are for.
type Order = tuple[tuple[tuple[str, ...], str], ...]

# Who may import whom: a room imports what stands below it, and nothing on its own line or above.
# A folder holds for the folders inside it that have no line of their own.
HUB_ORDER: Order = (
    (("",), "what Home Assistant looks for by name: platforms, flows, actions"),
    (("flows",), "the steps of the flows; config_flow.py puts them together"),
    (("entity.py",), "what all entities have in common"),
    (
        ("runtime/runtime.py",),
        "puts the node, the cameras and the events of a config entry together",
    ),
    (("runtime/pipelines.py",), "all cameras of a config entry"),
    (("runtime/driven_pipeline.py",), "one camera with everything that drives it"),
    (("runtime/camera_watch.py", "runtime/stream_finder.py"), "what happens to cameras"),
    (
        ("runtime/still_loop.py", "runtime/video_source.py", "runtime/entities.py"),
        "what drives or shows a pipeline",
    ),
    (("runtime/pipeline.py",), "one camera, which does not know what drives it"),
    (("runtime",), "the node of an entry, settings, events, masks, texts: they know no pipeline"),
    (("local_node",), "a node that Home Assistant starts itself"),
    (("api",), "the connection to a node, wherever it runs"),
    (("areas.py", "markdown.py"), "pure functions for flows, runtime and views"),
    (("const.py",), "names that everything shares"),
)
NODE_ORDER: Order = (
    (("__main__.py",), "the entry point picks a command"),
    (("cli",), "what a person types"),
    (("server",), "what a hub sends"),
    (("node.py",), "puts the parts together"),
    (("pipelines/preview.py",), "what people see of a camera"),
    (("pipelines/registry.py",), "all pipelines"),
    (("pipelines/live.py",), "a pipeline on live video"),
    (("pipelines/live_detector.py",), "models on the frames of live video"),
    (("pipelines/stills.py", "pipelines/live_look.py"), "one picture, and the events from it"),
    (
        ("pipelines/telling.py", "pipelines/loading.py", "pipelines/pictures.py"),
        "events, models and pictures of all pipelines",
    ),
    (("pipelines/pipeline.py",), "one camera's configuration, model and counters"),
    (("pipelines",), "what is there now, and small parts that know no pipeline"),
    (("benchmark.py",), "how fast a model runs in every place it could"),
    (("library",), "where models come from: installs, inspects and tries them"),
    (("cameras",), "the pictures of a camera, read in a process of its own"),
    (("workers",), "models that run in processes of their own"),
    (("inference",), "from a frame to findings, by one model or several"),
    (("micro",), "tries a model in TensorFlow Lite Micro, in a process of its own"),
    (("imaging",), "pictures of strangers are decoded in a process of their own"),
    (("drawing",), "findings and areas drawn on a picture"),
    (("processes",), "how a process of the node starts, answers and ends"),
    (("storage",), "events and pictures on disk"),
    (("tracking",), "objects from frame to frame"),
    (("rules",), "events from what was found"),
    (("models/formats",), "what is in the files of models, read without their engines"),
    (("models/heads",), "how a model's outputs are read, as pure functions of arrays"),
    (("models",), "what a model is: manifest, labels, store, trust"),
    (("engines",), "runtimes behind one small interface"),
    (("frames",), "arrays of pixels: decoded, turned, fitted, compared"),
    (("hardware",), "processors and accelerators of this machine"),
    (("findings.py",), "what a model found, as the protocol has it"),
    (("detections.py",), "the one currency between heads, tracking and rules"),
    (("system.py", "plain_files.py", "node_logging.py"), "small helpers without a home"),
    (("errors.py",), "errors that carry what the user can do"),
    (("protocol",), "messages between hub and node; imports the standard library only"),
    (("__init__.py",), "the version"),
)
# The hub knows of the node only this.
SHARED = f"{NODE}/protocol"


@dataclass(frozen=True)
class Arrow:
    """One file imports another; `line` is where."""

    importer: str
    imported: str
    line: int
    runs: bool  # when the importer is loaded; False inside functions and for type checkers

    def __str__(self) -> str:
        """Return it with its place in the importer."""
        return f"{self.importer}:{self.line} -> {self.imported}"


class House:
    """The files of the package in one folder and what they import."""

    def __init__(self, folder: Path, moved: Mapping[str, str] | None = None) -> None:
        """Read every Python file below `folder`; `moved` says where earlier files lie today."""
        self.folder = folder
        self._moved = moved or {}
        self.files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.py"))

    @cached_property
    def arrows(self) -> list[Arrow]:
        """Return each pair of files once, with its first import."""
        found: dict[tuple[str, str], Arrow] = {}
        for importer in self.files:
            tree = ast.parse((self.folder / importer).read_text(), importer)
            for node, runs in _imports(tree, runs=True):
                for imported in self._targets(importer, node):
                    if imported == importer:
                        continue
                    pair = importer, imported
                    if pair not in found or (runs and not found[pair].runs):
                        found[pair] = Arrow(importer, imported, node.lineno, runs)
        return list(found.values())

    def _targets(self, importer: str, node: ast.ImportFrom) -> Iterator[str]:
        """Yield the files of the package that a relative import reaches."""
        if not node.level:
            return  # inside the package only relative imports are allowed
        above = PurePosixPath(importer).parents
        if node.level > len(above):
            return
        base = above[node.level - 1].joinpath(*(node.module or "").split("."))
        for alias in node.names:
            for path in (base / f"{alias.name}.py", base / alias.name / "__init__.py"):
                if str(path) in self._known:
                    yield str(path)
                    break
            else:
                for path in (base.with_suffix(".py"), base / "__init__.py"):
                    if node.module and str(path) in self._known:
                        yield str(path)
                        break
                else:
                    if str(base / "__init__.py") in self._known:
                        yield str(base / "__init__.py")

    @cached_property
    def _known(self) -> set[str]:
        return set(self.files)

    def place(self, file: str) -> tuple[int, str] | None:
        """Return the floor of a file, counted from the top, and its room; None if unknown."""
        return floor_of(self._moved.get(file, file))

    @cached_property
    def rooms(self) -> set[str]:
        """Return the folders that hold files, and the files beside folders."""
        return {_room(file) for file in self.files}

    @cached_property
    def room_arrows(self) -> set[tuple[str, str]]:
        """Return which room imports which."""
        pairs = ((_room(arrow.importer), _room(arrow.imported)) for arrow in self.arrows)
        return {(importer, imported) for importer, imported in pairs if importer != imported}

    @cached_property
    def upward(self) -> list[Arrow]:
        """Return the imports that do not run downwards in the declared order."""
        return [arrow for arrow in self.arrows if not self._may(arrow)]

    def _may(self, arrow: Arrow) -> bool:
        of_importer, of_imported = self.place(arrow.importer), self.place(arrow.imported)
        if of_importer is None or of_imported is None:
            return True  # it has been split since; what became of it is judged in its place
        return may_import(of_importer, of_imported)

    @property
    def unplaced(self) -> list[str]:
        """Return the files that stand nowhere in the declared order."""
        return [file for file in self.files if self.place(file) is None]

    @cached_property
    def circles(self) -> list[list[str]]:
        """Return the groups of files that import each other in a circle, hidden ones too."""
        return _circles((arrow.importer, arrow.imported) for arrow in self.arrows)

    @cached_property
    def room_circles(self) -> list[list[str]]:
        """Return the groups of rooms that import each other in a circle."""
        return _circles(self.room_arrows)

    @cached_property
    def floors(self) -> int:
        """Return the length of the longest way down from room to room; a circle is one step."""
        return _depth(self.room_arrows)

    @cached_property
    def long_files(self) -> list[tuple[int, str]]:
        """Return the files that are longer than they should be, with their lines."""
        lengths = (
            (len((self.folder / file).read_text().splitlines()), file)
            for file in self.files
            if self._moved.get(file, file) not in LONG_FILES
        )
        return sorted(
            ((lines, file) for lines, file in lengths if lines > LONGEST_FILE), reverse=True
        )

    @property
    def top_of_hub(self) -> list[str]:
        """Return the files at the top of the hub side."""
        return [file for file in self.files if "/" not in file]


def floor_of(file: str) -> tuple[int, str] | None:
    """Return the floor of a file of today, counted from the top, and its room; None if unknown.

    The hub side stands above the node's side, of which it sees the lowest floors only.
    """
    if file.startswith(f"{NODE}/"):
        order, inside, start = NODE_ORDER, file.removeprefix(f"{NODE}/"), len(HUB_ORDER)
        prefix = f"{NODE}/"
    else:
        order, inside, start, prefix = HUB_ORDER, file, 0, ""
    path = PurePosixPath(inside)
    for name in map(str, (path, *path.parents)):
        wanted = "" if name == "." and "/" not in inside else name
        for number, (rooms, _) in enumerate(order):
            if wanted in rooms:
                return start + number, prefix + (wanted or path.name)
    return None


def may_import(importer: tuple[int, str], imported: tuple[int, str]) -> bool:
    """Return whether one (floor, room) may import another."""
    if importer[1] == imported[1]:
        return True
    if not importer[1].startswith(NODE) and imported[1].startswith(NODE):
        return imported[1] == SHARED
    # What Home Assistant looks for by name stands side by side.
    return importer[0] < imported[0] or importer[0] == imported[0] == 0


def _room(file: str) -> str:
    """Return the room of a file of any commit: folders inside one of today's belong to it."""
    path = PurePosixPath(file)
    if path.parent in (PurePosixPath(), PurePosixPath(NODE)):
        return file
    declared = {f"{NODE}/{room}" for rooms, _ in NODE_ORDER for room in rooms}
    return next((str(room) for room in path.parents if str(room) in declared), str(path.parent))


def _imports(tree: ast.AST, *, runs: bool) -> Iterator[tuple[ast.ImportFrom, bool]]:
    """Yield every `from … import`, and whether it runs when the file is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            yield node, runs
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imports(node, runs=False)
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(node, runs=runs and not function)


def _below(arrows: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Return what each one imports."""
    below: dict[str, set[str]] = {}
    for importer, imported in arrows:
        below.setdefault(importer, set()).add(imported)
        below.setdefault(imported, set())
    return below


def _components(below: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components, what is imported first (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(one: str) -> None:
        number[one] = lowest[one] = len(number)
        stack.append(one)
        for other in sorted(below[one]):
            if other not in number:
                visit(other)
                lowest[one] = min(lowest[one], lowest[other])
            elif other in stack:
                lowest[one] = min(lowest[one], number[other])
        if lowest[one] == number[one]:
            start = stack.index(one)
            found.append(sorted(stack[start:]))
            del stack[start:]

    for one in sorted(below):
        if one not in number:
            visit(one)
    return found


def _circles(arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    return sorted(group for group in _components(_below(arrows)) if len(group) > 1)


def _depth(arrows: Iterable[tuple[str, str]]) -> int:
    below = _below(arrows)
    depth: dict[str, int] = {}
    for group in _components(below):
        others = {other for one in group for other in below[one]} - set(group)
        steps = 1 + max((depth[other] for other in others), default=0)
        depth.update(dict.fromkeys(group, steps))
    return max(depth.values(), default=0)


def today() -> House:
    """Return the package as it is in the working tree."""
    return House(ROOT / PACKAGE)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True).stdout


def unpack(revision: str, folder: Path) -> House:
    """Return the package of an earlier commit, unpacked into `folder`."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", revision, PACKAGE))) as archive:
        archive.extractall(folder, filter="data")
    # -M30%: what was moved was mostly rewritten, too.
    changes = _git("diff", "-M30%", "-l0", "--name-status", revision, "--", PACKAGE).decode()
    moved = {
        earlier.removeprefix(f"{PACKAGE}/"): now.removeprefix(f"{PACKAGE}/")
        for status, earlier, *later in (line.split("\t") for line in changes.splitlines())
        for now in later
        if status.startswith("R")
    }
    return House(folder / PACKAGE, moved)


def describe(house: House) -> Iterator[str]:
    """Yield the figures of a house line by line, then what breaks the rules."""
    hidden = len(house.circles) - len(
        _circles((arrow.importer, arrow.imported) for arrow in house.arrows if arrow.runs)
    )
    figures = {
        "files": len(house.files),
        "rooms": len(house.rooms),
        "floors": house.floors,
        "import arrows from file to file": len(house.arrows),
        "import arrows from room to room": len(house.room_arrows),
        "import arrows upwards": len(house.upward),
        "circles of files": len(house.circles),
        "of these hidden from the interpreter": max(hidden, 0),
        "files in circles": sum(map(len, house.circles)),
        "circles of rooms": len(house.room_circles),
        "rooms in circles": sum(map(len, house.room_circles)),
        f"files over {LONGEST_FILE} lines": len(house.long_files),
        "files at the top of the hub side": len(house.top_of_hub),
    }
    for name, figure in figures.items():
        yield f"{figure:5}  {name}"
    lists: dict[str, list[str]] = {
        "upwards": [str(arrow) for arrow in house.upward],
        "circles of files": [" <-> ".join(circle) for circle in house.circles],
        "circles of rooms": [" <-> ".join(circle) for circle in house.room_circles],
        "long": [f"{file} ({lines} lines)" for lines, file in house.long_files],
        "nowhere in the declared order": house.unplaced,
    }
    for title, lines in lists.items():
        if lines:
            yield f"\n{title}:"
            yield from (f"  {line}" for line in lines)


def main() -> int:
    """Print the figures; return 1 where the working tree breaks the rules."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--at", metavar="REV", help="an earlier commit instead of the working tree")
    arguments = parser.parse_args()
    if arguments.at:
        with tempfile.TemporaryDirectory() as folder:
            print(*describe(unpack(arguments.at, Path(folder))), sep="\n")
        return 0
    house = today()
    print(*describe(house), sep="\n")
    return 1 if house.upward or house.circles or house.long_files or house.unplaced else 0


if __name__ == "__main__":
    sys.exit(main())
