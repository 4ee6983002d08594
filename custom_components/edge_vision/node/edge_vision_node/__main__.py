"""`python -m edge_vision_node`."""

import sys

from .cli import main

sys.exit(main())
