"""Slices as PNG without a drawing library, which would take longer to load than a study takes to be explained."""

from __future__ import annotations

import struct
import zlib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Colours: TypeAlias = "tuple[tuple[float, tuple[float, float, float]], ...]"
"""Places from 0 to 1 with red, green and blue from 0 to 1; straight lines between."""
Rgb: TypeAlias = npt.NDArray[np.float64]
"""Shape (row, column, 3), from 0 to 1."""

HOT_IRON_COLOURS: Colours = ((0.0, (0, 0, 0)), (0.5, (1, 0, 0)), (0.75, (1, 0.5, 0)), (1.0, (1, 1, 1)))
"""The "Hot Iron" palette of nuclear medicine, DICOM PS3.6 Annex B.1.1."""

_RED_BLUE = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f"
DIVERGING_COLOURS: Colours = tuple(
    (place / 10, (code[0] / 255, code[1] / 255, code[2] / 255))
    for place, code in enumerate(map(bytes.fromhex, _RED_BLUE.split()))
)
"""Blue below zero, white at zero, red above (ColorBrewer's RdBu): distinct for every kind of colour vision."""
OVERLAY_COLOURS: Colours = (
    (0.0, (0.65, 0.95, 1.0)),
    (0.25, (0.1, 0.6, 1.0)),
    (0.5, (0.05, 0.15, 0.6)),
    (0.5, (0.6, 0.05, 0.05)),
    (0.75, (1.0, 0.35, 0.0)),
    (1.0, (1.0, 0.95, 0.4)),
)
"""Blue to cyan below zero, red to yellow above: brighter as it grows, to be laid over dark pictures."""
GREY_COLOURS: Colours = ((0.0, (0, 0, 0)), (1.0, (1, 1, 1)))


def enlarge(image: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float64]:
    """Give a picture more pixels by cubic splines, edges on edges."""
    return np.asarray(
        ndimage.zoom(np.asarray(image, dtype=np.float64), factor, order=3, mode="nearest", grid_mode=True)
    )


def colour(image: npt.NDArray[Any], colours: Colours, limits: tuple[float, float]) -> Rgb:
    """Give each value its colour; values outside the limits take the first or last one."""
    share = np.clip((np.asarray(image, dtype=np.float64) - limits[0]) / (limits[1] - limits[0]), 0.0, 1.0)
    places = [place for place, _ in colours]
    return np.stack([np.interp(share, places, [rgb[channel] for _, rgb in colours]) for channel in range(3)], axis=-1)


def blend(below: Rgb, above: Rgb, opacity: npt.NDArray[np.float64]) -> Rgb:
    """Lay one picture over another; `opacity` (row, column) is 0 to 1."""
    weight = np.clip(opacity, 0.0, 1.0)[..., np.newaxis]
    return np.asarray(below * (1.0 - weight) + above * weight)


def border(mask: npt.NDArray[np.bool_], factor: int) -> npt.NDArray[np.bool_]:
    """Give the outermost pixels of a region in a picture that was enlarged by `factor`."""
    large = ndimage.zoom(mask.astype(np.float64), factor, order=1, mode="nearest", grid_mode=True) >= 0.5
    return np.asarray(large & ~ndimage.binary_erosion(large))


def to_png_bytes(picture: Rgb) -> bytes:
    """Write a picture as PNG; equal pictures give equal bytes."""
    pixels = np.rint(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, -1)
    above = np.vstack([np.zeros_like(flat[:1]), flat[:-1]])
    # Each row begins with the number of its filter: 0 for values, smaller for noise, 2 for their differences from the
    # row above, smaller for smooth pictures.
    packed = (zlib.compress(_filtered(number, rows), 6) for number, rows in ((0, flat), (2, flat - above)))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", min(packed, key=len)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _filtered(number: int, rows: npt.NDArray[np.uint8]) -> bytes:
    return np.insert(rows, 0, number, axis=1).tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
