"""Encoded images (PNG, JPEG and what else Pillow reads), and why one cannot be used."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator

from PIL import Image

# Beyond this a small file may fill the memory of a worker; the largest cameras of phones stay below.
LARGEST_PIXELS = 100_000_000
# Decoded at once, in a worker that wants a smaller picture of each: photographs of phones are a few megabytes as files,
# tens when decoded, and a batch has hundreds.
PIXELS_AT_ONCE = 2**24


class UnusableImage(ValueError):
    """Its message is the name of the rule that the image breaks."""


def decoded(image: bytes, largest_pixels: int = LARGEST_PIXELS) -> Image.Image:
    """In RGB; transparent is what lies beneath.

    Args:
        image: an encoded image.
        largest_pixels: an image of more is not decoded.

    Raises:
        UnusableImage: ``image_too_large`` or ``broken_image``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes below its own limit, ours is told here
            opened = Image.open(io.BytesIO(image))
            if opened.width * opened.height > largest_pixels:
                raise UnusableImage("image_too_large")
            return opened.convert("RGB")
    except UnusableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnusableImage("image_too_large") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and others
        raise UnusableImage("broken_image") from error


def decoded_in_groups(images: Iterable[bytes]) -> Iterator[list[Image.Image]]:
    """All of them in their order, of PIXELS_AT_ONCE or fewer in a group; one that has more is alone.

    Raises:
        UnusableImage: as :func:`decoded`.
    """
    group: list[Image.Image] = []
    pixels = 0
    for image in images:
        one = decoded(image)
        size = one.width * one.height
        if group and pixels + size > PIXELS_AT_ONCE:
            yield group
            group, pixels = [], 0
        group.append(one)
        pixels += size
    if group:
        yield group
