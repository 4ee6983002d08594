"""Parts of decoded frames in the size of a model, without masked areas."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from edge_vision_node.cameras.pixels import KeptFrame
from edge_vision_node.frames.fit import fit
from edge_vision_node.frames.masks import NO_MASKS, Masks
from edge_vision_node.protocol import Box, Point
from PIL import Image

from tests.pictures import SELF_TEST_PICTURE

FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "nv12", "gray", "rgb24")
WHOLE = Box(x_min=0, y_min=0, x_max=1, y_max=1)
LEFT = (Point(x=0, y=0), Point(x=0.5, y=0), Point(x=0.5, y=1), Point(x=0, y=1))


def decoded(image: Image.Image, pixels: str) -> av.VideoFrame:
    """Return a frame as returned by a decoder."""
    frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
    return frame.reformat(format=pixels)


@pytest.fixture(params=[(640, 480), (323, 241)], ids=["even", "odd"])
def picture(request: pytest.FixtureRequest) -> Image.Image:
    with Image.open(SELF_TEST_PICTURE) as image:
        return image.convert("RGB").resize(request.param, Image.Resampling.BOX)


@pytest.mark.parametrize("pixels", FORMATS)
@pytest.mark.parametrize("letterbox", [False, True], ids=["stretch", "letterbox"])
@pytest.mark.parametrize(
    "region", [(0, 0, 1, 1), (0.13, 0.21, 0.71, 0.83), (0.4, 0.4, 0.6, 0.7)], ids=str
)
def test_a_part_looks_as_pillow_would_make_it(
    picture: Image.Image, pixels: str, letterbox: bool, region: tuple[float, ...]
) -> None:
    box = Box(x_min=region[0], y_min=region[1], x_max=region[2], y_max=region[3])
    frame = decoded(picture, pixels)
    made, placement = KeptFrame(1, "", frame).crop(
        NO_MASKS, box, (200, 160), letterbox=letterbox, pad=7
    )
    assert made.shape == (160, 200, 3)
    assert made.dtype == np.uint8
    # Where the part has moved outwards to what the planes allow, its placement says so.
    share = (
        -placement.offset_x / placement.scale_x,
        -placement.offset_y / placement.scale_y,
    )
    assert share[0] == pytest.approx(region[0], abs=2.01 / picture.width)
    assert share[1] == pytest.approx(region[1], abs=2.01 / picture.height)
    wanted = Image.fromarray(frame.to_ndarray(format="rgb24"))
    reference, at = fit(wanted, (200, 160), region, letterbox=letterbox, pad=7)
    assert placement.scale_x == pytest.approx(at.scale_x, rel=0.06)
    # Two ways to average and to spread colour differ by less than three pixels to the side do.
    wanted_pixels = np.asarray(reference).astype(int)
    aside = np.abs(np.roll(wanted_pixels, 3, axis=1) - wanted_pixels).mean()
    assert np.abs(made.astype(int) - wanted_pixels).mean() < max(3.5, aside)


@pytest.mark.parametrize("pixels", FORMATS)
def test_what_is_masked_is_black_and_leaks_nowhere(picture: Image.Image, pixels: str) -> None:
    width, height = picture.size
    white = Image.new("RGB", picture.size, "white")
    white.paste("black", (width // 2 + 1, 0, width, height))  # all light is behind the mask
    kept = KeptFrame(1, "", decoded(white, pixels))
    seen, _ = kept.crop(Masks((LEFT,)), WHOLE, (200, 160))
    assert seen.max() <= 2
    jpeg, size = kept.jpeg(Masks((LEFT,)), None, 95)
    assert size == picture.size
    assert np.asarray(Image.open(io.BytesIO(jpeg))).max() <= 12
    # Another view of the same frame sees all of it.
    assert kept.crop(NO_MASKS, WHOLE, (200, 160))[0][:, :80].min() > 250


def test_a_picture_is_made_no_wider_than_asked_for(picture: Image.Image) -> None:
    kept = KeptFrame(1, "", decoded(picture, "yuv420p"))
    jpeg, size = kept.jpeg(NO_MASKS, 100, 85)
    assert size == Image.open(io.BytesIO(jpeg)).size
    assert size[0] == 100
    assert size[0] / size[1] == pytest.approx(picture.width / picture.height, rel=0.02)


@pytest.mark.parametrize("width", [160, 320, 960])
def test_a_sharp_picture_is_told_from_a_blurred_one_and_from_noise(width: int) -> None:
    with Image.open(SELF_TEST_PICTURE) as image:
        sharp = image.convert("RGB").resize((width, width), Image.Resampling.LANCZOS)
    pixels = np.asarray(sharp).astype(float)
    moved = sum(np.roll(pixels, n, axis=1) for n in range(width // 30)) / (width // 30)
    grain = np.random.default_rng(1).normal(0, 12, (width, width, 1))

    def sharpness(values: np.ndarray) -> float:
        shown = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
        return KeptFrame(1, "", decoded(shown, "yuv420p")).sharpness(WHOLE)

    still = [sharpness(values) for values in (pixels, pixels + grain)]
    blurred = [sharpness(values) for values in (moved, moved + grain)]
    assert min(still) > 2 * max(blurred)


@pytest.mark.parametrize("region", [(0, 0, 0, 0), (1, 1, 1, 1), (0.5, 0, 0.502, 1)], ids=str)
def test_what_is_too_small_is_not_sharp(picture: Image.Image, region: tuple[float, ...]) -> None:
    box = Box(x_min=region[0], y_min=region[1], x_max=region[2], y_max=region[3])
    assert KeptFrame(1, "", decoded(picture, "yuv420p")).sharpness(box) == 0
