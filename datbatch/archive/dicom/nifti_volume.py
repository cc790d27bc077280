"""Read the values of a NIfTI file and their place in space.

The free texts of the header (`descrip`, `aux_file`, `db_name`, `intent_name`) and its extensions are never decoded:
they may hold names of patients, and paths.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.archive.geometry.anatomical import MAX_VOXELS, by
from datbatch.errors import (
    ContradictoryGeometryError,
    InvalidTomogramError,
    MissingOrientationError,
    TruncatedError,
    UnreadableNiftiError,
    UnsupportedPixelsError,
)

_GZIP = b"\x1f\x8b"
_MAX_BYTES = 8 * MAX_VOXELS + (1 << 20)
_MARKS = {348: (344, b"n+1\0"), 540: (4, b"n+2\0")}
"""By the length of the header (NIfTI-1, NIfTI-2): place and value of the mark of a file with header and image."""
_PAIR_MARKS = (b"ni1\0", b"ni2\0")
_UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres by unit of length (`xyzt_units`); an unknown unit counts as millimetres, as in all readers."""
_SAME_SPACE_DEG, _OTHER_SPACE_DEG = 2.0, 30.0
"""Greatest angle between the axes of sform and qform: both in one space, or one of them in a template's space."""
_SAME_SIZE = 1.25
"""Greatest ratio between a voxel's sizes in the matrix and in `pixdim`; a matrix into a template's space stretches."""
_AS_FLOATS = "Write the image as whole numbers or floats of at most 64 bits."

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NiftiVolume:
    """One image as the file holds it."""

    values: npt.NDArray[np.float32]
    """Shape (i, j, k)."""
    header: Any = field(repr=False)
    """nibabel's header."""

    def affine(self) -> _Array:
        """Give the matrix from voxel index to millimetres, RAS: the sform where there is one, else the qform.

        Raises
        ------
        MissingOrientationError
            When the header has neither, or a qform without its sign.
        ContradictoryGeometryError
            When they contradict each other, or the size of a voxel.
        UnreadableNiftiError
            When they are not finite.
        """
        # Numbers that are too large become infinite and are refused for that.
        with np.errstate(all="ignore"):
            return _affine(self.header)


def is_nifti(data: bytes) -> bool:
    """Tell whether bytes begin like a NIfTI file of any kind, compressed or not."""
    if data[:2] == _GZIP:
        try:
            data = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data[: 1 << 16], 1024)
        except zlib.error:
            return False
    return _order(data) != "" and (_mark(data) in _PAIR_MARKS or _mark(data) == _expected_mark(data))


def read_volume(data: bytes, size: int) -> NiftiVolume:
    """Read the bytes of a file `.nii` or `.nii.gz` of `size` bytes; it is too large where `data` has fewer.

    Raises
    ------
    TruncatedError
        When there are fewer bytes than the header declares.
    UnreadableNiftiError
        When it is damaged, or not a NIfTI file with header and image.
    InvalidTomogramError
        When the image is not three-dimensional, or too large.
    UnsupportedPixelsError
        When values are colours or complex.
    """
    import nibabel

    if size > len(data):
        raise InvalidTomogramError(f"a file of {size} bytes is too large for an image of a head")
    data = _inflated(data)
    order, mark = _order(data), _mark(data)
    if mark in _PAIR_MARKS:
        raise UnreadableNiftiError("a header without its image (.hdr, .img)")
    if not order or mark != _expected_mark(data):
        raise UnreadableNiftiError("the mark of NIfTI is missing")
    length = struct.unpack(f"{order}i", data[:4])[0]
    if len(data) < length:
        raise TruncatedError("the file ends within its header")
    kind = nibabel.Nifti1Header if length == 348 else nibabel.Nifti2Header
    header = kind(data[:length], endianness=order, check=False)
    shape = _shape([int(size) for size in header["dim"]])
    dtype = _dtype(header)
    slope, intercept, start = (float(header[name]) for name in ("scl_slope", "scl_inter", "vox_offset"))
    if not (length <= start <= _MAX_BYTES and start == int(start)):
        raise UnreadableNiftiError(f"vox_offset is {start:g}")
    count = int(np.prod(shape))
    if len(data) < start + count * dtype.itemsize:
        raise TruncatedError(f"the image needs {count * dtype.itemsize} bytes, {len(data) - int(start)} are there")
    stored = np.frombuffer(data, dtype, count, int(start)).reshape(shape, order="F")
    if slope == 0.0 or not np.isfinite(slope):
        # In the standard such a slope means that values are not scaled.
        slope, intercept = 1.0, 0.0
    if not np.isfinite(intercept):
        raise UnreadableNiftiError("scl_inter is not finite")
    with np.errstate(all="ignore"):
        values = (stored * np.float64(slope) + intercept).astype(np.float32)
    return NiftiVolume(values, header)


def _inflated(data: bytes) -> bytes:
    if data[:2] != _GZIP:
        return data
    parts, size = [], 0
    while data[:2] == _GZIP:
        stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            parts.append(stream.decompress(data, _MAX_BYTES - size + 1))
        except zlib.error:
            raise UnreadableNiftiError("the compressed file is corrupt") from None
        size += len(parts[-1])
        if size > _MAX_BYTES:
            raise InvalidTomogramError(f"the image is larger than {MAX_VOXELS} voxels")
        if not stream.eof:
            raise TruncatedError("the compressed file is cut")
        data = stream.unused_data
    return b"".join(parts)


def _order(data: bytes) -> str:
    """Give the byte order in which the header's length is possible; empty where none is."""
    return next((order for order in "<>" if data[:4] in {struct.pack(f"{order}i", n) for n in _MARKS}), "")


def _mark(data: bytes) -> bytes:
    order = _order(data)
    if not order:
        return b""
    place = _MARKS[struct.unpack(f"{order}i", data[:4])[0]][0]
    return data[place : place + 4]


def _expected_mark(data: bytes) -> bytes:
    return _MARKS[struct.unpack(f"{_order(data)}i", data[:4])[0]][1]


def _shape(dim: list[int]) -> tuple[int, int, int]:
    axes = dim[0]
    if not 1 <= axes <= 7 or min(dim[1 : axes + 1]) < 1:
        raise UnreadableNiftiError(f"the number of axes is {axes}, or one of them has no voxels")
    if axes < 3 or any(size != 1 for size in dim[4 : axes + 1]):
        named = " x ".join(map(str, dim[1 : axes + 1]))
        raise InvalidTomogramError(f"an image of {named} voxels is not three-dimensional")
    x, y, z = dim[1:4]
    if x * y * z > MAX_VOXELS:
        raise InvalidTomogramError(f"the image is larger than {MAX_VOXELS} voxels")
    return x, y, z


def _dtype(header: Any) -> np.dtype[Any]:
    code = int(header["datatype"])
    try:
        dtype: np.dtype[Any] = np.dtype(header.get_data_dtype())
    except Exception:
        raise UnsupportedPixelsError(f"the type of values (datatype {code}) is not known", _AS_FLOATS) from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnsupportedPixelsError(f"values are not real numbers (datatype {code})", _AS_FLOATS)
    return dtype


def _affine(header: Any) -> _Array:
    units = int(header["xyzt_units"]) & 7
    if units not in _UNITS_MM:
        raise UnreadableNiftiError(f"the unit of lengths ({units}) is not known")
    s_code, q_code = int(header["sform_code"]), int(header["qform_code"])
    if s_code <= 0 and q_code <= 0:
        raise MissingOrientationError("the header has neither sform nor qform")
    pixdim = np.asarray(header["pixdim"][:4], dtype=np.float64)
    if not (np.isfinite(pixdim).all() and pixdim[1:].min() > 0.0):
        raise InvalidTomogramError("the size of a voxel (pixdim) is missing")
    forms = [_checked(header.get_sform())] if s_code > 0 else []
    if q_code > 0 and abs(pixdim[0]) == 1.0:
        forms.append(_checked(_rotation(header)))
    if not forms:
        raise MissingOrientationError("the qform lacks the sign (pixdim[0]) that tells left from right")
    if len(forms) == 2:
        _compare(forms[0], forms[1], _SAME_SPACE_DEG if s_code == q_code else _OTHER_SPACE_DEG)
    _check_sizes(forms[0], pixdim[1:])
    scaled = forms[0].copy()
    scaled[:3] *= _UNITS_MM[units]
    return scaled


def _rotation(header: Any) -> Any:
    from nibabel.spatialimages import HeaderDataError

    try:
        return header.get_qform()
    except (ValueError, HeaderDataError):
        raise UnreadableNiftiError("the qform is no rotation") from None


def _checked(affine: Any) -> _Array:
    matrix = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise UnreadableNiftiError("sform or qform is not finite")
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise InvalidTomogramError("the size of a voxel is missing")
    return matrix


def _check_sizes(affine: _Array, pixdim: _Array) -> None:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    ratio = sizes / pixdim
    if ratio.max() > _SAME_SIZE or ratio.min() < 1.0 / _SAME_SIZE:
        raise ContradictoryGeometryError(f"pixdim says voxels of {by(pixdim)} mm, the matrix says {by(sizes)}")


def _compare(s_form: _Array, q_form: _Array, limit_deg: float) -> None:
    """Refuse an sform and a qform that mirror each other's image, or turn it by more than the limit."""
    one, other = (form[:3, :3] / np.linalg.norm(form[:3, :3], axis=0) for form in (s_form, q_form))
    if np.linalg.det(one) * np.linalg.det(other) < 0.0:
        raise ContradictoryGeometryError("sform and qform contradict each other about left and right")
    apart = np.degrees(np.arccos(np.clip((one * other).sum(axis=0), -1.0, 1.0))).max()
    if apart > limit_deg:
        raise ContradictoryGeometryError(f"sform and qform turn the image by {apart:.0f} degrees against each other")
