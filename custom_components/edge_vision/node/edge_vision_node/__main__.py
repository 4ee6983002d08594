"""The entry point of `python -m edge_vision_node` and the program `edge-vision-node`."""

import os
import sys


def main() -> int:
    """Run the command line and return the exit status."""
    # NumPy's linear algebra has little to do here; as it is imported, it starts a thread for each
    # core, which costs every process of a node a third of the processor time of its start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from .cli.main import main as run  # noqa: PLC0415 - it imports NumPy

    return run()


if __name__ == "__main__":
    sys.exit(main())
