"""Run a model in TensorFlow Lite Micro: `python -m edge_vision_node.micro.child MODEL ARENA`.

This is a separate process, because a model can crash the interpreter: it does not validate its
input, and continues after a failed allocation. A JSON line is printed after the package was
imported, after the model was read, and after it was run, so the caller knows how far it got. The
messages of the interpreter and all errors go to stderr.
"""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

# Address space for the interpreter, the model and the largest arena; stops malicious models.
_MEMORY_BYTES = 4 * 2**30
_CPU_S = 120


def main() -> None:
    """Read the model and run it."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    runtime = import_module("tflite_micro.python.tflite_micro.runtime")
    data = Path(sys.argv[1]).read_bytes()
    _say({"version": import_module("tflite_micro").__version__})
    model = runtime.convert_bytearray_to_object(data)
    _say({"operators": _operators(runtime, model)})
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=int(sys.argv[2]))
    _say(_run(interpreter, model))


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _operators(runtime: Any, model: Any) -> dict[str, int]:
    """Return the number of uses of each operator."""
    known = _names(runtime.schema_fb.BuiltinOperator)
    counts: Counter[str] = Counter()
    for graph in model.subgraphs:
        for operator in graph.operators or ():
            code = model.operatorCodes[operator.opcodeIndex]
            number = runtime.get_builtin_code_from_operator_code(code)
            name = known.get(number, str(number))
            if name == "CUSTOM":
                name = f"CUSTOM {_printable(code.customCode or b'')}"
            counts[name] += 1
    return dict(counts)


def _printable(name: bytes) -> str:
    """Return an untrusted name in a form that is safe for a terminal and a comment in a header."""
    text = name.decode("utf-8", "replace")[:60]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _run(interpreter: Any, model: Any) -> dict[str, Any]:
    """Run the model once on zeros; its use of the arena is printed on stderr."""
    numpy = import_module("numpy")
    graph = model.subgraphs[0]
    inputs = [interpreter.get_input_details(index) for index in range(len(graph.inputs))]
    for index, details in enumerate(inputs):
        interpreter.set_input(numpy.zeros(details["shape"], details["dtype"]), index)
    interpreter.invoke()
    interpreter.print_allocations()
    outputs = [interpreter.get_output_details(index) for index in range(len(graph.outputs))]
    return {"inputs": [_tensor(item) for item in inputs], "outputs": [*map(_tensor, outputs)]}


def _tensor(details: dict[str, Any]) -> dict[str, Any]:
    return {
        "dtype": import_module("numpy").dtype(details["dtype"]).name,
        "shape": [int(size) for size in details["shape"]],
    }


if __name__ == "__main__":
    main()
