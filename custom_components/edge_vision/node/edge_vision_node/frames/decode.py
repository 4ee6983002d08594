"""Still pictures to frames: JPEG, PNG and WebP, upright, and no larger than they need to be."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..errors import PictureError
from ..protocol import MAX_PICTURE_BYTES

_FORMATS = ("JPEG", "PNG", "WEBP")
# Exif orientations 5-8 swap width and height; 1-4 do not.
_FIRST_QUARTER_TURN = 5
# 50 megapixels are 150 MB of RGB: more than any camera here sends, less than what hurts.
MAX_PIXELS = 50_000_000
# The limit above holds for every picture before its pixels are decoded, and gives a clearer error.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Frame:
    """A picture, upright.

    Attributes:
        image: RGB; may be smaller than the camera's picture (same shape, fewer pixels).
        width, height: of the camera's picture, upright, in pixels.
    """

    image: Image.Image
    width: int
    height: int


def decode(data: bytes | memoryview, least: tuple[int, int] | None = None) -> Frame:
    """Decode a picture.

    Args:
        data: a JPEG, PNG or WebP file.
        least: width and height in pixels that are enough. A JPEG is then decoded at the smallest
            of 1/1, 1/2, 1/4 and 1/8 of its size that still has them, which is several times
            faster (libjpeg's scaled inverse DCT).

    Raises:
        PictureError: not such a file, damaged, cut short, or too large.
    """
    if len(data) == 0:
        raise PictureError("The picture is empty")
    if len(data) > MAX_PICTURE_BYTES:
        raise PictureError(f"The picture is larger than {MAX_PICTURE_BYTES >> 20} MiB")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PictureError(
                    f"The picture has {width}x{height} pixels; the limit is"
                    f" {MAX_PIXELS // 1_000_000} megapixels"
                )
            if least is not None:
                image.draft("RGB", least)
            image.load()
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            turned = orientation >= _FIRST_QUARTER_TURN
            # Pillow would copy one that is upright already.
            upright = _to_rgb(image if orientation == 1 else ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise PictureError("The picture is not a JPEG, PNG or WebP file") from None
    # Pillow's decoders raise nearly anything on a file made to break them
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, MemoryError) as err:
        raise PictureError(f"The picture is damaged or cut short: {err}") from err
    return Frame(upright, height, width) if turned else Frame(upright, width, height)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow would clip, not scale
        image = Image.fromarray((np.asarray(image, dtype=np.int32) >> 8).astype(np.uint8))
    return image.convert("RGB")
