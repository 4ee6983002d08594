"""Privacy masks hold on pictures of another shape than that on which they were drawn."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from edge_vision_node.frames.decode import decode
from edge_vision_node.frames.masks import Masks, burn
from edge_vision_node.protocol import (
    EvidenceRequest,
    LiveRequest,
    LookRequest,
    PipelineConfig,
    Point,
    ProtocolError,
    Zone,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.live_camera import mjpeg_camera
from tests.node.test_live import SIZE, STREET, pipeline, until, watcher
from tests.pictures import jpeg

WIDE, OLD, HIGH = (1920, 1080), (1600, 1200), (1080, 1920)


def area(left: float, top: float, right: float, bottom: float) -> tuple[Point, ...]:
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return tuple(Point(x=x, y=y) for x, y in corners)


def scene(shape: tuple[int, int]) -> Image.Image:
    """Return a white picture of a shape in which a window is red."""
    image = Image.new("RGB", shape, "white")
    x, y = shape[0] // 10, shape[1] // 10
    image.paste("red", (2 * x, y, 4 * x, 3 * y))
    return image


WINDOW = area(0.2, 0.1, 0.4, 0.3)


def hides_all(mask: tuple[Point, ...], drawn: tuple[int, int], shown: Image.Image) -> bool:
    """Return whether nothing red is left of a picture."""
    masked = shown.copy()
    burn(masked, Masks((mask,), (drawn[0] / drawn[1],)))
    red = sum(
        1 for r, g, b in (masked.getpixel(p) for p in _grid(masked.size)) if r > 200 and g < 60 > b
    )
    return red == 0


def _grid(size: tuple[int, int]) -> list[tuple[int, int]]:
    return [(x, y) for x in range(2, size[0], 9) for y in range(2, size[1], 9)]


def cut(image: Image.Image, shape: tuple[int, int]) -> Image.Image:
    """Return the middle of an image in another shape."""
    width = min(image.width, image.height * shape[0] / shape[1])
    height = min(image.height, image.width * shape[1] / shape[0])
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return image.crop((round(left), round(top), round(left + width), round(top + height)))


@pytest.mark.parametrize(("drawn", "shown"), [(OLD, WIDE), (WIDE, OLD), (WIDE, (704, 576))])
def test_what_a_camera_does_to_show_another_shape_uncovers_nothing(
    drawn: tuple[int, int], shown: tuple[int, int]
) -> None:
    still = scene(drawn)
    assert hides_all(WINDOW, drawn, still.resize(shown))
    assert hides_all(WINDOW, drawn, cut(still, shown))
    # It was the still that was cut: the window is that of a still from the middle.
    whole = scene(shown)
    window = (whole.width * 0.2, whole.height * 0.1, whole.width * 0.4, whole.height * 0.3)
    part = cut(whole, drawn)
    left, top = (whole.width - part.width) / 2, (whole.height - part.height) / 2
    inner = area(
        (window[0] - left) / part.width,
        (window[1] - top) / part.height,
        (window[2] - left) / part.width,
        (window[3] - top) / part.height,
    )
    assert hides_all(inner, drawn, whole)


@pytest.mark.parametrize("turn", [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270])
def test_a_picture_that_is_turned_uncovers_nothing(turn: Image.Transpose) -> None:
    assert hides_all(WINDOW, WIDE, scene(WIDE).transpose(turn))
    assert hides_all(WINDOW, HIGH, scene(HIGH).transpose(turn))
    # Turned and cut, as a 4:3 sensor on its side may be.
    assert hides_all(WINDOW, OLD, cut(scene(OLD).transpose(turn), HIGH))


@pytest.mark.parametrize("shown", [WIDE, (640, 360), (640, 352), (1280, 736)])
def test_of_the_same_shape_nothing_more_is_covered(shown: tuple[int, int]) -> None:
    assert Masks((WINDOW,), (WIDE[0] / WIDE[1],)).on(*shown) == (WINDOW,)
    # The same if nobody knows on what they were drawn.
    assert Masks((WINDOW,)).on(100, 999) == (WINDOW,)


@given(
    st.floats(0.05, 20.0),
    st.tuples(st.integers(16, 8000), st.integers(16, 8000)),
)
def test_where_a_mask_was_drawn_is_covered_whatever_the_shape(
    aspect: float, shown: tuple[int, int]
) -> None:
    covered = Masks((WINDOW,), (aspect,)).on(*shown)
    assert WINDOW in covered
    assert len(covered) <= 7


def test_masks_drawn_on_pictures_of_several_shapes_are_covered_for_each() -> None:
    wide, old = WIDE[0] / WIDE[1], OLD[0] / OLD[1]
    both = Masks((WINDOW,), (wide, old)).on(*WIDE)
    assert set(both) == {WINDOW, *Masks((WINDOW,), (old,)).on(*WIDE)}
    assert len(both) == 3


def test_a_camera_has_masks_of_so_many_shapes_at_most() -> None:
    config = PipelineConfig(pipeline_id="porch", name="Porch", mask_aspects=(1.5,) * 17)
    with pytest.raises(ProtocolError):
        config.check()


@pytest.mark.parametrize("aspect", [0.0, -1.0, 1e-9, 1e9])
def test_no_picture_has_such_a_shape(aspect: float) -> None:
    config = PipelineConfig(pipeline_id="porch", name="Porch", mask_aspects=(aspect,))
    with pytest.raises(ProtocolError):
        config.check()


def darkest(picture: bytes, left: float, top: float, right: float, bottom: float) -> int:
    """Return how bright the brightest place of a part of a picture is."""
    image = decode(picture).image.convert("L")
    width, height = image.size
    part = image.crop(
        (round(left * width), round(top * height), round(right * width), round(bottom * height))
    )
    return int(part.getextrema()[1])


@pytest.mark.usefixtures("socket_enabled")
async def test_a_node_masks_live_video_and_stills_of_another_shape(tmp_path: Path) -> None:
    # Drawn on a 4:3 still in its upper part; the stream shows 16:9, and perhaps only the middle.
    mask = area(0.0, 0.25, 0.5, 0.4)
    street = decode(STREET).image.copy().resize((1280, 720))
    covers = {"squeezed": (0.02, 0.27, 0.48, 0.38), "cut": (0.02, 0.19, 0.48, 0.34)}
    async with mjpeg_camera(jpeg(street)) as camera, watcher(tmp_path) as it:
        config = pipeline(camera, privacy_masks=(mask,), mask_aspects=(4 / 3,))
        await it.watch(config)
        await until(lambda: it.looks)
        _, view = await it.node.previews.live_view(LiveRequest(pipeline_id="porch"))
        _, gate = await it.node.previews.live_view(LiveRequest(pipeline_id="porch", motion=True))
        for part in covers.values():
            assert darkest(view, *part) < 24
            assert darkest(gate, *part) < 24
        assert darkest(view, 0.52, 0.0, 1.0, 1.0) > 100
        # A still of the same pipeline is masked in the same way, also in what is kept of it.
        await it.watch(replace(config, video=None))
        at = datetime.now(UTC).isoformat()
        request = LookRequest(pipeline_id="porch", captured_at=at, scan=True)
        await it.node.pipelines.look(request, memoryview(jpeg(street)))
        _, last = await it.node.pipelines.last_picture("porch")
        evidence = EvidenceRequest(event_id=it.events[-1].evidence or "", clean=True)
        _, clean = await it.node.pictures.evidence(evidence)
        for part in covers.values():
            assert darkest(clean, *part) < 24
        # Once the shape is known, what is kept already is masked as well.
        before = replace(config, video=None, mask_aspects=())
        it.node.archive.pictures.write("porch", jpeg(street), datetime.now(UTC))
        await it.watch(before)
        await it.watch(replace(config, video=None))
        _, last = await it.node.pipelines.last_picture("porch")
        for part in covers.values():
            assert darkest(last, *part) < 24


@pytest.mark.usefixtures("socket_enabled")
async def test_a_zone_stays_where_it_was_drawn_on_a_stream_that_squeezes_the_view(
    tmp_path: Path,
) -> None:
    left = Zone(name="Left", points=area(0.0, 0.0, 0.5, 1.0))
    right = Zone(name="Right", points=area(0.5, 0.0, 1.0, 1.0))
    squeezed = jpeg(decode(STREET).image.copy().resize((SIZE[0], SIZE[0])))
    async with mjpeg_camera(squeezed) as camera, watcher(tmp_path) as it:
        aspect = SIZE[0] / SIZE[1]
        await it.watch(pipeline(camera, zones=(left, right), mask_aspects=(aspect,)))
        await until(lambda: it.looks and any(item.zones for item in it.looks[-1].objects))
        for item in it.looks[-1].objects:
            if item.zones:
                middle = (item.box.x_min + item.box.x_max) / 2
                assert item.zones == (("Left",) if middle < 0.5 else ("Right",))
