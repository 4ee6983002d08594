"""Runs a model in TensorFlow Lite Micro: `python -m edge_vision_node.micro.child MODEL ARENA`.

A process of its own, because a model may crash the interpreter: it does not check what it reads,
and goes on after an allocation that failed. Prints a JSON line when the package is there, one when
it has read the model, and one when it has run it, so that its end tells how far it came. What the
interpreter has to say goes to stderr, and so does any error.
"""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

# 64-bit address space for interpreter, model and the largest arena; a bomb ends here.
_MEMORY_BYTES = 4 * 2**30
_CPU_S = 120


def main() -> None:
    """Read and run the model."""
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
    """Return how often each operator is used."""
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
    """Return a name that a stranger gave, fit for a terminal and a comment in a header."""
    text = name.decode("utf-8", "replace")[:60]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _run(interpreter: Any, model: Any) -> dict[str, Any]:
    """Run the model once on zeros; the arena's use is printed on stderr."""
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
