"""Ways to damage a DICOM file, by accident or on purpose; each takes whole files and gives one hostile one."""

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tests.archive.writer import SYNTAXES, Style, write

Chance = np.random.Generator
Mutation = Callable[[bytes, Sequence[bytes], Chance], bytes]

_PREAMBLE = 132
_EXPLICIT = re.compile(
    rb"[\x02\x08\x10\x18\x20\x28\x54\xe0]\x00..(?:A[EST]|CS|D[AST]|F[DL]|IS|L[OT]|O[BW]|PN|S[HLQST]|U[ILNST])"
)
_SIZES = {  # little endian tag: values that declare more than any file holds
    "Rows": (b"\x28\x00\x10\x00US\x02\x00", (b"\xff\xff", b"\x00\x00", b"\x00\x80")),
    "Columns": (b"\x28\x00\x11\x00US\x02\x00", (b"\xff\xff", b"\x00\x00", b"\x01\x00")),
    "BitsAllocated": (b"\x28\x00\x00\x01US\x02\x00", (b"\x40\x00", b"\x00\x00", b"\xff\xff", b"\x01\x00")),
    "SamplesPerPixel": (b"\x28\x00\x02\x00US\x02\x00", (b"\xff\xff", b"\x00\x00", b"\x03\x00")),
}
_FRAMES = b"\x28\x00\x08\x00IS"
_PATHS = (
    b"../../../../etc/passwd",
    b"/etc/shadow\x00",
    b"..\\..\\windows\\win.ini",
    b"$(touch x)",
    b"<script>alert(1)",
)
_UIDS = re.compile(rb"[\x08\x20]\x00[\x0d\x0e\x18]\x00UI..")


def flip_bits(content: bytes, _: Sequence[bytes], chance: Chance) -> bytes:
    """Turn up to 64 bits, half of the time in the header alone."""
    data = bytearray(content)
    end = len(data) if chance.random() < 0.5 else min(len(data), 4096)
    for at in chance.integers(min(_PREAMBLE, end - 1), end, chance.integers(1, 65)):
        data[at] ^= 1 << chance.integers(8)
    return bytes(data)


def truncate(content: bytes, _: Sequence[bytes], chance: Chance) -> bytes:
    return content[: chance.integers(0, len(content))]


def splice(content: bytes, others: Sequence[bytes], chance: Chance) -> bytes:
    """Put a piece of another file in, or over, a piece of this one."""
    other = others[chance.integers(len(others))]
    start, length = chance.integers(0, len(other)), chance.integers(1, 5000)
    at, over = chance.integers(0, len(content)), chance.integers(0, 5000) * (chance.random() < 0.5)
    return content[:at] + other[start : start + length] + content[at + over :]


def repeat(content: bytes, _: Sequence[bytes], chance: Chance) -> bytes:
    """Write a piece many times."""
    at, length = chance.integers(0, len(content)), chance.integers(1, 400)
    return content[:at] + content[at : at + length] * int(chance.integers(2, 2000)) + content[at:]


def change_length(content: bytes, _: Sequence[bytes], chance: Chance) -> bytes:
    """Let an element declare another length, small or huge."""
    data = bytearray(content)
    found = [match.end() for match in _EXPLICIT.finditer(content[: 1 << 16])]
    at = found[chance.integers(len(found))] if found else int(chance.integers(0, max(1, len(data) - 8)))
    if chance.random() < 0.5:
        data[at : at + 2] = struct.pack("<H", chance.choice([0, 1, 2, 3, 255, 32768, 65535]))
    else:
        wide = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, chance.integers(1 << 32)]
        data[at + 2 : at + 6] = struct.pack("<I", int(chance.choice(wide)))
    return bytes(data)


def nest(content: bytes, _: Sequence[bytes], chance: Chance) -> bytes:
    """Open sequences within sequences, few or very many, of undefined or huge length."""
    length = struct.pack("<I", int(chance.choice([0xFFFFFFFF, 0xFFFFFFF0, 0x00FFFFFF])))
    explicit = b"\x54\x00\x12\x00SQ\x00\x00" + length + b"\xfe\xff\x00\xe0" + length
    implicit = b"\x54\x00\x12\x00" + length + b"\xfe\xff\x00\xe0" + length
    opened = (explicit if chance.random() < 0.5 else implicit) * int(chance.choice([3, 15, 17, 100, 20_000, 200_000]))
    found = [match.start() for match in _EXPLICIT.finditer(content[: 1 << 16])]
    at = found[chance.integers(len(found))] if found else min(len(content), 400)
    return content[:at] + opened + content[at:]


def deflate_bomb(content: bytes, _: Sequence[bytes], chance: Chance) -> bytes:
    """Replace the data set by one that grows a thousandfold when it is inflated; it may begin as the file does."""
    start = _dataset_start(content)
    syntax = b"1.2.840.10008.1.2.1.99"
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax)) + syntax
    head = content[:_PREAMBLE] + b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(meta)) + meta
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    beginning = squeezer.compress(content[start : start + int(chance.integers(0, 4000))])
    beginning += squeezer.flush(zlib.Z_FULL_FLUSH)
    filling = zlib.compressobj(9, zlib.DEFLATED, -15)
    byte = bytes([int(chance.choice([0, 255, 65]))])
    megabyte = filling.compress(byte * (1 << 20)) + filling.flush(zlib.Z_FULL_FLUSH)
    # Behind a full flush a block depends on nothing before it, and may be repeated.
    return head + beginning + megabyte * int(chance.choice([1, 30, 130, 600])) + b"\x03\x00"


def declare_sizes(content: bytes, _: Sequence[bytes], chance: Chance) -> bytes:
    """Declare rows, columns, bits or frames that no file holds."""
    data = bytearray(content)
    for tag, values in _SIZES.values():
        at = content.find(tag)
        if at >= 0 and chance.random() < 0.5:
            data[at + len(tag) : at + len(tag) + 2] = values[chance.integers(len(values))]
    at = content.find(_FRAMES)
    if at >= 0 and chance.random() < 0.7:
        width = int.from_bytes(content[at + 6 : at + 8], "little")
        value = chance.choice(["999999999999", "-1", "0", "1e9", "2147483648", "65536"]).encode()
        data[at + 6 : at + 8 + width] = struct.pack("<H", len(value) + len(value) % 2) + value + b" " * (len(value) % 2)
    return bytes(data)


def paths_as_identifiers(content: bytes, _: Sequence[bytes], chance: Chance) -> bytes:
    """Write a path, a command or markup where an identifier belongs."""
    data, shift = bytearray(content), 0
    for match in _UIDS.finditer(content[: 1 << 16]):
        width = int.from_bytes(match[0][-2:], "little")
        value = _PATHS[chance.integers(len(_PATHS))]
        value += b"\x00" * (len(value) % 2)
        at = match.end() + shift
        data[at - 2 : at + width] = struct.pack("<H", len(value)) + value
        shift += len(value) - width
    return bytes(data)


def several(content: bytes, others: Sequence[bytes], chance: Chance) -> bytes:
    for _ in range(int(chance.integers(2, 5))):
        name = chance.choice([name for name in MUTATIONS if name != "several"])
        content = MUTATIONS[name](content, others, chance) or content
    return content


MUTATIONS: dict[str, Mutation] = {
    "bits flipped": flip_bits,
    "truncated": truncate,
    "spliced": splice,
    "piece repeated": repeat,
    "length changed": change_length,
    "sequences nested": nest,
    "deflate bomb": deflate_bomb,
    "huge sizes declared": declare_sizes,
    "paths as identifiers": paths_as_identifiers,
    "several": several,
}


def whole_files(folder: Path) -> list[bytes]:
    """Write small acquisitions in every transfer syntax and give their bytes."""
    styles = [
        Style("fuzz", (90.0, 270.0), views=16, rows=rows, bins=bins, syntax=syntax)
        for syntax in SYNTAXES
        for rows, bins in [(32, 32) if syntax == "jpeg 2000" else (8, 10)]
    ]
    made = [write(folder / str(number), style)[0].read_bytes() for number, style in enumerate(styles)]
    larger = Style(
        "larger", (0.0, 180.0), orientation=True, start_in="both", windows_kev=((143.1, 174.9), (120.0, 140.0))
    )
    return [*made, write(folder / "larger", larger)[0].read_bytes()]


def damaged(number: int, seed: int, files: Sequence[bytes], projections: int) -> tuple[str, bytes]:
    """Give the hostile file of a number, and how it was damaged; it depends on the arguments alone.

    Three of four are made from the first `projections` files, which are read to their end: others are refused early.
    """
    chance = np.random.default_rng([seed, number])
    name = list(MUTATIONS)[number % len(MUTATIONS)]
    among = projections if chance.random() < 0.75 else len(files)
    return name, MUTATIONS[name](files[chance.integers(among)], files, chance)


def _dataset_start(content: bytes) -> int:
    if content[_PREAMBLE : _PREAMBLE + 4] != b"\x02\x00\x00\x00":
        return min(len(content), 400)
    return min(len(content), 144 + int.from_bytes(content[140:144], "little"))
