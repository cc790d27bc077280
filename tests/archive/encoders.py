"""Encoders that follow the standards' text, and streams by other encoders to compare with."""

import base64
import itertools
import struct
from pathlib import Path

import numpy as np

_PREDICTED = {
    1: lambda a, b, c: a,
    2: lambda a, b, c: b,
    3: lambda a, b, c: c,
    4: lambda a, b, c: a + b - c,
    5: lambda a, b, c: a + ((b - c) >> 1),
    6: lambda a, b, c: b + ((a - c) >> 1),
    7: lambda a, b, c: (a + b) >> 1,
}


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _differences(image: np.ndarray, predictor: int, bits: int, restart_rows: int) -> np.ndarray:
    values = image.astype(np.int64)
    left, above, corner = np.zeros((3, *image.shape), dtype=np.int64)
    left[:, 1:], above[1:], corner[1:, 1:] = values[:, :-1], values[:-1], values[:-1, :-1]
    predicted = _PREDICTED[predictor](left, above, corner)
    predicted[:, 0] = above[:, 0]
    for row in range(0, len(values), restart_rows or len(values)):
        predicted[row] = left[row]
        predicted[row, 0] = 1 << (bits - 1)
    return ((values - predicted + 32768) & 0xFFFF) - 32768


def _scan(differences: np.ndarray) -> bytes:
    """Write five bits of category, then the bits of each difference; a byte of ones is followed by zeros."""
    text = []
    for value in differences.ravel().tolist():
        category = 16 if value == -32768 else abs(value).bit_length()
        text.append(format(category, "05b"))
        if 0 < category < 16:
            text.append(format(value if value > 0 else value + (1 << category) - 1, f"0{category}b"))
    bits = "".join(text)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")


def jpeg_lossless(image: np.ndarray, *, predictor: int = 1, bits: int = 16, restart_rows: int = 0) -> bytes:
    """Encode one frame by ITU-T T.81 annex H, with one Huffman table whose codes all have five bits."""
    rows, columns = image.shape
    frame = bytes([bits]) + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + bytes([1, 1, 0x11, 0])
    table = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    differences = _differences(image, predictor, bits, restart_rows)
    parts = [differences[k : k + restart_rows] for k in range(0, rows, restart_rows)] if restart_rows else [differences]
    scan = b"".join(_scan(part) + bytes([0xFF, 0xD0 + k % 8]) for k, part in enumerate(parts))[:-2]
    restart = segment(0xDD, (restart_rows * columns).to_bytes(2, "big")) if restart_rows else b""
    head = segment(0xC3, frame) + segment(0xC4, table) + restart + segment(0xDA, bytes([1, 1, 0, predictor, 0, 0]))
    return b"\xff\xd8" + head + scan + b"\xff\xd9"


def run_length(image: np.ndarray) -> bytes:
    """Encode one frame by PS3.5 annex G: runs and literals of each byte, the most significant byte first."""
    planes = image.astype(image.dtype.newbyteorder(">")).reshape(-1, 1).view(np.uint8).T
    packed = [_pack(bytes(plane)) for plane in planes]
    starts = np.cumsum([64, *map(len, packed)])[:-1].tolist()
    return struct.pack("<16I", len(packed), *starts, *[0] * (15 - len(packed))) + b"".join(packed)


def _pack(plane: bytes) -> bytes:
    found = b""
    for value, group in itertools.groupby(plane):
        count = len(list(group))
        while count > 1:
            found += bytes([257 - min(count, 128), value])
            count -= min(count, 128)
        found += bytes([0, value]) * count
    return found + b"\0" * (len(found) % 2)


def by_others(name: str) -> list[bytes]:
    """Give the streams that another encoder made of known images, one a line."""
    lines = (Path(__file__).parent / "streams" / f"{name}.txt").read_text(encoding="ascii").split()
    return [base64.b64decode(line) for line in lines]


def known_images() -> list[np.ndarray]:
    """Give images that are hard in different ways: ramps over all 16 bits, flat ones with specks, noise, one sample."""
    rows, columns = np.mgrid[:13, :17]
    noise = (rows * 7919 + columns * 104729 + rows * columns * 31) % 251
    specks = np.where((rows * 17 + columns) % 23 == 0, 1000, 4)
    smooth = 300 + 40 * rows + (columns - 8) ** 2
    images = [noise * 261, noise, specks, smooth, np.zeros((13, 17))]
    thin = [noise[:1], noise[:, :1] * 200, np.full((1, 1), 65535)]
    return [image.astype(np.uint16) for image in images + thin]
