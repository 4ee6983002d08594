"""Benchmarks: programs that print figures, run as `python -m tests.bench.NAME`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "custom_components/edge_vision/node"))
