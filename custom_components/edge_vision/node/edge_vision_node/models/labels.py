"""Reads the names of a model's classes from the formats that people and tools use.

These are lists, numbers before names, Ultralytics' `data.yaml` and `metadata.yaml`, JSON,
TensorFlow's label maps and tables with commas, in UTF-8, UTF-16 or an old code page. The meaning of
a number before a name is not always clear from the file, so a file is read in every plausible way,
and the model's number of classes decides.
"""

from __future__ import annotations

import ast
import codecs
import csv
import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import ModelError
from ..plain_files import read_plain
from .names import MAX_LABEL_BYTES, MAX_LABELS, MAX_NAME

# A class that does not exist, as in Coral's list of COCO's 90.
GAP = "???"
SUFFIXES = (".txt", ".names", ".yaml", ".yml", ".json", ".pbtxt", ".csv", ".labels", ".lst")

Names = tuple[str, ...]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NUMBER_FIRST = re.compile(r"\s*(\d{1,6})(\s*[:,;=|\t]\s*|\s+-\s+|[.)]\s+|\s+)(\S.*)")
_NUMBER_LAST = re.compile(r"(.*[^\s:,;=|-])(\s*[:,;=|\t]\s*|\s+-\s+|\s+)(\d{1,6})\s*")
_COMMENT = re.compile(r"(?:#\s|#$|//|;).*|(.*?\S)\s+#\s.*")
# A list with a name, as in a program or a YAML file: CLASSES = ("cat", "dog")
_ASSIGNED = re.compile(r"\s*\w+\s*[:=]\s*([\[({].*[\])}])[\s,;]*", re.DOTALL)
_NAME_COLUMNS = frozenset({"name", "names", "label", "labels", "class", "class_name"})
_NUMBER_COLUMNS = frozenset({"id", "index", "class_id", "label_id", "class_index", "number"})
_NOT_LABELS = (b"<!doctype", b"<html", b"<?xml", b"version https://git-lfs")
_PBTXT = re.compile(r"(\w+)\s*:\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|(-?\d+))")
# Pure Python reads some hundred KiB per second.
_MAX_YAML = 256 * 1024
_KEYS = (
    *("names", "labels", "classes", "categories", "id2label", "label_map", "class_names"),
    "label2id",
)


def read_labels(path: Path) -> tuple[Names, ...]:
    """Return the ways to read a label file, the most likely first. Raises `ModelError`.

    Names are unchanged; a blank one is a class without a name.
    """
    try:
        content = read_plain(path, MAX_LABEL_BYTES)
    except OSError as err:
        raise ModelError(f"The labels {path.name} cannot be read: {err.strerror}") from err
    return parse(path.name, content)


def parse(name: str, content: bytes) -> tuple[Names, ...]:
    """Return the ways to read the content of a label file, as `read_labels`."""
    if content[:64].lstrip().lower().startswith(_NOT_LABELS):
        raise ModelError(
            f"{name} is a web page or a pointer to a file, not the file itself; download it again"
        )
    text = _text(name, content)
    found = _ways(name, text)
    if not found:
        raise ModelError(
            f"{name} contains no labels; expected a text file with one label per line, or"
            " data.yaml of Ultralytics"
        )
    if any(len(names) > MAX_LABELS for names in found):
        raise ModelError(f"{name} has more than {MAX_LABELS} labels, which is the maximum")
    return tuple(dict.fromkeys(found))


def from_metadata(text: str) -> Names:
    """Return the labels in a model's metadata: {0: 'person', …}, a list, or JSON."""
    if not text or len(text) > MAX_LABEL_BYTES:
        return ()
    try:
        value = _literal(text)
    except ValueError:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return ()
    names = _structured(value)
    return names[:MAX_LABELS] if names is not None else ()


def read_notes(content: bytes) -> dict[str, str]:
    """Return the metadata file of Ultralytics, as ONNX files have it inside."""
    try:
        text = content.decode()
        try:
            document = _literal(text)
        except ValueError:
            document = _read_yaml(text)  # JSON is YAML, too
    except ValueError:
        return {}
    if not isinstance(document, dict):
        return {}
    return {
        key: value if isinstance(value, str) else repr(value)
        for key, value in document.items()
        if isinstance(key, str) and len(key) <= MAX_NAME and not _is_deep(value)
    }


def _literal(text: str) -> object:
    """Return the value of a Python literal. Raises `ValueError`."""
    try:
        value: object = ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as err:
        raise ValueError("it is not a Python literal") from err
    return value


def _read_yaml(text: str) -> object:
    """Return a YAML document of strings, lists and dicts: `no` and `07` are strings.

    Aliases share one object. Raises `ValueError`.
    """
    if len(text) > _MAX_YAML:
        raise ValueError(f"it has more than {_MAX_YAML >> 10} KiB")
    try:
        document: object = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - makes no objects
    except yaml.YAMLError as err:
        raise ValueError(getattr(err, "problem", None) or "it is not YAML") from err
    except RecursionError as err:
        raise ValueError("it is nested too deeply") from err
    return document


# --- Text -----------------------------------------------------------------------------------------


def _text(name: str, content: bytes) -> str:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError as err:
                raise ModelError(
                    f"The labels {name} are damaged: they end inside a character"
                ) from err
    zeros = content.count(0)
    if zeros:  # UTF-16 without a byte order mark
        low = content[1::2].count(0) >= content[::2].count(0)
        wide = content.decode("utf-16-le" if low else "utf-16-be", "replace")
        # In other scripts only line ends have zeros.
        if zeros * 3 >= len(content) or wide.count("\n") == content.count(b"\n") > 0:
            content = wide.encode()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # Windows-1252, with Latin-1 for bytes that it does not define.
        text = "".join(_western(byte) for byte in content)
    odd = sum(unicodedata.category(sign) == "Cc" and sign not in "\r\n\t\f" for sign in text)
    if odd * 50 > len(text):
        raise ModelError(f"{name} is not a text file; expected one label per line")
    return text


def _western(byte: int) -> str:
    return bytes([byte]).decode("cp1252", "ignore") or chr(byte)


def _ways(name: str, text: str) -> list[Names]:
    suffix, start = Path(name).suffix.lower(), text.lstrip()[:1]
    if suffix == ".json" or start in ("{", "["):
        try:
            names = _structured(json.loads(text))
        except (ValueError, RecursionError):
            names = from_metadata(text) or _loose(text)
        if names or suffix == ".json":
            return [names] if names else []
    if suffix in (".yaml", ".yml") or re.search(r"^(names|id2label)\s*:", text, re.MULTILINE):
        return _yaml(name, text)
    if suffix == ".pbtxt" or re.search(r"^\s*item\s*:?\s*\{", text, re.MULTILINE):
        return _label_map(text)
    if names := _of_program(text):
        return [names]
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    lines = _without_comments(lines)
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0] and len(lines) > 1 and _NUMBER_FIRST.fullmatch(lines[1]):
        lines.pop(0)
    columns = _columns(lines) if suffix == ".csv" else []
    return columns + _lines(lines) if any(lines) else []


def _loose(text: str) -> Names | None:
    """Return the names of a list or dict without quotes, as YAML has them."""
    try:
        return _structured(_read_yaml(text))
    except ValueError:
        return None


def _of_program(text: str) -> Names:
    """Return the names of a list in a program, with its variable or without brackets."""
    if match := _ASSIGNED.fullmatch(text):
        return from_metadata(match[1])
    text = text.strip().rstrip(",")
    # Strings without a comma between them would be joined.
    if text[:1] not in ("'", '"', "(") or re.search(r"['\"]\s+['\"]", text):
        return ()
    return from_metadata(text if text[0] == "(" else f"[{text}]") or from_metadata(f"{{{text}}}")


def _without_comments(lines: list[str]) -> list[str]:
    """Return lines without comments, unless there are only comments."""
    found = [_COMMENT.fullmatch(line) for line in lines]
    kept = [
        line if match is None else match[1]
        for line, match in zip(lines, found, strict=True)
        if match is None or match[1]
    ]
    return kept if any(kept) else lines


def _columns(lines: Sequence[str]) -> list[Names]:
    """Return the names of a table whose header says which column has them."""
    sign = max(",;\t", key=lines[0].count) if lines else ","
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=sign) if row]
    except csv.Error:
        return []
    head = [cell.lower() for cell in rows[0]] if rows else []
    named = [i for i, cell in enumerate(head) if cell in _NAME_COLUMNS]
    if not named:
        return []
    rows = [row for row in rows[1:] if len(row) > named[0]]
    names = tuple(row[named[0]] for row in rows)
    numbered = [i for i, cell in enumerate(head) if cell in _NUMBER_COLUMNS]
    if numbered and all(len(row) > numbered[0] and row[numbered[0]].isdecimal() for row in rows):
        numbers = [int(row[numbered[0]]) for row in rows]
        ways = [_dense(list(zip(numbers, names, strict=True))) if rows else None, names]
        return [way for way in ways if way]
    return [names] if names else []


def _yaml(name: str, text: str) -> list[Names]:
    try:
        document = _read_yaml(text)
    except ValueError as err:
        raise ModelError(
            f"The labels {name} cannot be read: {err}; fix the YAML, or use a text file with one"
            " label per line"
        ) from err
    names = _structured(document)
    return [names] if names else []


def _structured(value: object) -> Names | None:
    """Return the names in a document: a list, a dict of numbers and names, or one inside it."""
    if isinstance(value, dict):
        for key in _KEYS:
            if isinstance(value.get(key), list | tuple | dict):
                return _structured(value[key])
        inner = [item for item in value.values() if isinstance(item, dict) and set(_KEYS) & {*item}]
        return _structured(inner[0]) if len(inner) == 1 else _of_dict(value)
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, dict) for item in value):
            return _of_items([_pair(item) for item in value])
        if all(_is_plain(item) for item in value):
            return tuple(_plain(item) for item in value)
    return None


def _of_dict(items: dict[Any, Any]) -> Names | None:
    """Return names by number, whichever of the two is the key."""
    # ImageNet's labels have an id before each name.
    items = {
        key: item[-1] if isinstance(item, list | tuple) and len(item) == 2 else item
        for key, item in items.items()
    }
    if not items or not all(_is_plain(item) for pair in items.items() for item in pair):
        return None
    pairs = [(_plain(key), _plain(value)) for key, value in items.items()]
    if all(key.strip().isdecimal() for key, _ in pairs):
        return _dense([(int(key), name) for key, name in pairs])
    # Other settings are numbers as well; names count from 0 or 1.
    numbers = [int(name) for _, name in pairs if name.strip().isdecimal()]
    if len(numbers) == len(pairs) and min(numbers) <= (1 if len(numbers) > 1 else 0):
        return _dense([(int(name), key) for key, name in pairs])
    return None


def _of_items(items: list[tuple[Any, Any]]) -> Names | None:
    """Return names by number, or in their order if they have none."""
    if all(number is None and isinstance(name, str) for number, name in items):
        return tuple(name for _, name in items)
    return _of_dict(dict(items))


def _pair(item: dict[str, Any]) -> tuple[Any, Any]:
    number = next((item[key] for key in ("id", "index", "label_id") if key in item), None)
    name = next((item[key] for key in ("name", "label", "display_name") if key in item), None)
    return number, name


def _is_plain(item: object) -> bool:
    return item is None or isinstance(item, str | int | float)


def _plain(item: object) -> str:
    return "" if item is None else str(item)


def _is_deep(value: object) -> bool:
    if isinstance(value, dict):
        return not all(map(_is_plain, value.values()))
    return isinstance(value, list) and not all(map(_is_plain, value))


def _dense(pairs: Sequence[tuple[int, str]]) -> Names | None:
    """Return names by number, with `GAP` for missing numbers."""
    by_number = dict(pairs)
    if len(by_number) != len(pairs) or max(by_number) >= 2 * MAX_LABELS:
        return None
    return tuple(by_number.get(i, GAP) for i in range(max(by_number) + 1))


def _label_map(text: str) -> list[Names]:
    pairs: list[tuple[int, str]] = []
    for block in re.findall(r"\{([^{}]*)\}", text):
        fields = {
            key: double or single or number for key, double, single, number in _PBTXT.findall(block)
        }
        name = fields.get("display_name") or fields.get("name")
        if name is not None and fields.get("id", "").isdecimal():
            pairs.append((int(fields["id"]), name))
    names = _dense(pairs) if pairs else None
    return [names] if names else []


# --- Lines ----------------------------------------------------------------------------------------


def _lines(lines: list[str]) -> list[Names]:
    """Return the ways to read a list: numbers before names may be ids, or part of the names."""
    lines = _undressed(lines)
    ways: list[Names] = []
    filled = [line for line in lines if line]
    if len(filled) == 1:
        sign = max(",;\t", key=filled[0].count)
        if len(parts := _unquoted([part.strip() for part in filled[0].split(sign)])) > 2:
            ways.append(tuple(part for part in parts if part))
    pairs, explicit = _numbers(filled)
    if pairs:
        names = _unquoted([name for _, name in pairs])
        pairs = [(number, name) for (number, _), name in zip(pairs, names, strict=True)]
        explicit = explicit or [number for number, _ in pairs] == list(range(len(pairs)))
        distinct = len({name.casefold() for name in names}) == len(names)
        dense = _dense(pairs) if distinct or explicit else None
        if dense is not None:
            ways.append(dense)
            if not explicit and _share_a_word(names):
                ways.append(tuple(lines))
            if len(dense) != len(names):
                ways.append(tuple(names))
    ways.append(tuple(lines))
    if "" in lines:  # accidental blank lines
        ways.append(tuple(line for line in lines if line))
    return ways


def _undressed(lines: list[str]) -> list[str]:
    """Return lines without dashes, commas and quotes that all of them have."""
    filled = [line for line in lines if line]
    if all(line.startswith("- ") for line in filled):
        lines = [line[2:].strip() for line in lines]
    if all(line.endswith((",", ";")) for line in filled[:-1]):
        lines = [line.rstrip(",; ") for line in lines]
    if any('"' in line for line in filled):
        lines = [",".join(part.strip() for part in _cells(line)) for line in lines]
    return _unquoted(lines)


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), []) if '"' in line else [line]
    except csv.Error:  # longer than any name
        return [line]


def _unquoted(names: list[str]) -> list[str]:
    """Return names without quotes, if all of them have quotes."""
    if all(re.fullmatch(r"(['\"`])(?:(?!\1).)*\1", name) for name in names if name):
        return [name[1:-1] for name in names]
    return names


def _numbers(lines: list[str]) -> tuple[list[tuple[int, str]], bool]:
    """Return (number, name) of every line, and whether a sign separates them; else empty."""
    if len(lines) > 1 and re.fullmatch(
        r"(id|index|class_id|\W*)\s*[,;\t]\s*\w+", lines[0], re.IGNORECASE
    ):
        lines = lines[1:]
    for pattern, number, name in ((_NUMBER_FIRST, 1, 3), (_NUMBER_LAST, 3, 1)):
        found = [pattern.fullmatch(line) for line in lines]
        matches = [match for match in found if match is not None]
        if not matches or len(matches) != len(lines):
            continue
        pairs = [(int(match[number]), match[name].strip()) for match in matches]
        explicit = all(match[2].strip() or "\t" in match[2] for match in matches)
        counts = [pair[0] for pair in pairs]
        if len(set(counts)) != len(counts):
            continue
        if pattern is _NUMBER_FIRST or (explicit and sorted(counts) == counts):
            return pairs, explicit
    return [], False


def _share_a_word(names: Sequence[str]) -> bool:
    """Return whether most names share a word, so that the numbers distinguish them."""
    stems = [{word[:4] for word in name.casefold().split()} for name in names]
    return len(names) > 1 and bool(set.intersection(*stems))
