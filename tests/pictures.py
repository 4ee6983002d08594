"""Pictures for tests: included in the node, drawn, or from the test data if available."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
NODE_FOLDER = ROOT / "custom_components" / "edge_vision" / "node"
SELF_TEST_PICTURE = NODE_FOLDER / "edge_vision_node" / "models" / "bundled" / "selftest.jpg"
TEST_DATA = ROOT.parent / "shared" / "testdata"

needs_test_data = pytest.mark.skipif(
    not TEST_DATA.is_dir(), reason="the larger test pictures are not here (../shared/testdata)"
)


def jpeg(image: Image.Image, **options: object) -> bytes:
    """Encode a picture as a JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()
