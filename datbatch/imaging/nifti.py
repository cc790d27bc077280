"""NIfTI files in and out: three axes, right-anterior-superior, millimetres."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Floats
from datbatch.errors import DatbatchError
from datbatch.files import write_whole

MNI_CODE = 4
"""NIfTI's code of MNI space (`NIFTI_XFORM_MNI_152`)."""
MILLIMETRES = 2
HEADER = "<i10s18sihcB8h3f4h8f3fhBB4f2i80s24s2h6f12f16s4s"
"""Fields of the header in their order (nifti1.h), 348 bytes. It is written here: a library for it takes longer to load
than a study takes to be imaged."""
SCANNER_CODE = 1
"""NIfTI's code of a space that belongs to the acquisition (`NIFTI_XFORM_SCANNER_ANAT`)."""


def read_nifti(
    path: Path, dtype: type[np.float32] | type[np.float64], refusal: type[DatbatchError]
) -> tuple[npt.NDArray[Any], Floats]:
    """Read a three-dimensional NIfTI image and turn its axes to right, anterior, superior.

    Gives the values (x, y, z) as `dtype`, and the affine (4, 4), voxel index to mm. Raises `refusal` when the file
    cannot be read, is not three-dimensional, holds values that are not finite, is constant, or does not say where
    it lies in space: its left and right would be a guess.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Pair):
            raise refusal("the file is not a NIfTI image")
        if not (image.header["sform_code"] or image.header["qform_code"]):
            raise refusal("the header does not say where the image lies in space (no sform, no qform)")
        if len(image.shape) < 3 or any(size != 1 for size in image.shape[3:]):
            raise refusal(f"an image of shape {image.shape} is not three-dimensional")
        image = nibabel.as_closest_canonical(image.slicer[..., *(0,) * (len(image.shape) - 3)])
        data = np.ascontiguousarray(image.get_fdata(dtype=dtype))
    except (OSError, ValueError, EOFError, MemoryError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise refusal(f"the file cannot be read ({type(error).__name__})") from error
    if data.size == 0 or not np.isfinite(data).all() or data.min() == data.max():
        raise refusal("the image is empty, constant, or holds values that are not finite")
    affine = np.asarray(image.affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise refusal("the affine of the image cannot be inverted")
    return data, affine


def write_nifti(
    path: Path,
    data: npt.NDArray[Any],
    affine: Floats,
    slope: float = 1.0,
    *,
    code: int = MNI_CODE,
    description: str = "",
) -> None:
    """Write an image, see `nifti_bytes`; compressed where the name ends in `.gz`."""
    content = nifti_bytes(data, affine, slope=slope, code=code, description=description)
    write_whole(path, gzip.compress(content, compresslevel=9, mtime=0) if path.suffix == ".gz" else content)


def nifti_bytes(
    data: npt.NDArray[Any], affine: Floats, *, slope: float = 1.0, code: int = MNI_CODE, description: str = ""
) -> bytes:
    """Give an image as NIfTI-1; equal images give equal bytes.

    The matrix (`sform`) says where the image lies in space; where the axes are the body's the quaternion (`qform`)
    says it, too.

    Parameters
    ----------
    data : ndarray, shape (x, y, z), uint8, int16 or float32
        Values as they are stored.
    affine : ndarray, shape (4, 4)
        Voxel index to mm.
    slope : float
        Factor for a stored value.
    code : int
        NIfTI's code of the space that the affine leads to.
    description : str
        What it is, in ASCII; the header takes 79 characters.
    """
    kind, bits = {"uint8": (2, 8), "int16": (4, 16), "float32": (16, 32)}[data.dtype.name]
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    upright = np.array_equal(affine[:3, :3], np.diag(spacing))
    header = struct.pack(
        HEADER,
        *(348, b"", b"", 0, 0, b"r", 0),
        *(3, *data.shape, 1, 1, 1, 1),
        *(0.0, 0.0, 0.0, 0, kind, bits, 0),
        *(1.0, *spacing, 1.0, 1.0, 1.0, 1.0),
        *(352.0, slope, 0.0, 0, 0, MILLIMETRES),
        *(0.0, 0.0, 0.0, 0.0, 0, 0, description.encode("ascii")[:79], b""),
        *(code if upright else 0, code),
        *(0.0, 0.0, 0.0, *affine[:3, 3]),
        *affine[:3].ravel(),
        *(b"", b"n+1\0"),
    )
    little = data.astype(data.dtype.newbyteorder("<"), copy=False)
    return header + bytes(4) + little.tobytes(order="F")
