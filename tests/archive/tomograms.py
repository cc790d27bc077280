"""Writers of one head-sized image as NIfTI and as DICOM slices, in any order and direction of axes.

They share no code with the package: nibabel turns the axes of NIfTI, and DICOM's directions stand in a table.
"""

import gzip
import itertools
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.archive.writer import NM, named_object

PET = "1.2.840.10008.5.1.4.1.1.128"
LPS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
CANARY = "Canary"

# Sides that the three axes of a NIfTI run to, and those that rows and columns run to and slices follow each other to.
ALL_AXES = [
    "".join(sides) for order in itertools.permutations(("RL", "AP", "SI")) for sides in itertools.product(*order)
]
PLANES = ["".join(sides) for order in itertools.permutations(("LR", "PA", "HF")) for sides in itertools.product(*order)]
TRANSAXIAL = [axes for axes in PLANES if axes[2] in "HF"]

SHAPE, SPACING_MM = (28, 32, 20), (6.0, 5.5, 5.0)
AFFINE = np.diag([*SPACING_MM, 1.0])
AFFINE[:3, 3] = (-80.0, -95.0, -40.0)


def left_blob() -> np.ndarray:
    """A head's outline with one hot blob: on the patient's left, in front, above the middle. Whole numbers."""
    place = np.moveaxis(np.indices(SHAPE), 0, -1) * SPACING_MM + AFFINE[:3, 3]
    head = 100.0 * ((np.linalg.norm((place - (0, -10, 5)) / (65, 75, 48), axis=-1)) < 1)
    blob = 900.0 * np.exp(-((place - (-30.0, 20.0, 15.0)) ** 2).sum(axis=-1) / (2 * 9.0**2))
    return np.rint(head + blob).astype(np.float32)


def blob_mm(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Give where the hottest voxel of an image lies, RAS mm."""
    return (affine @ [*np.unravel_index(np.argmax(data), data.shape), 1.0])[:3]


def nifti(
    path: Path,
    data: np.ndarray,
    affine: np.ndarray,
    *,
    axes: str = "RAS",
    forms: str = "both",
    edit: Callable[[nibabel.Nifti1Header], None] | None = None,
    kind: type = nibabel.Nifti1Image,
) -> Path:
    """Write an image whose first, second, third axis runs to the named sides; `forms`: sform, qform, both, none.

    `edit` changes the header of the written bytes, where nibabel puts nothing right any more.
    """
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axes)))
    turned = nibabel.Nifti1Image(data, affine).as_reoriented(turn)
    image = kind(np.asarray(turned.dataobj), turned.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(turned.affine, code=1 if forms in ("sform", "both") else 0)
    image.set_qform(turned.affine, code=1 if forms in ("qform", "both") else 0)
    image.header["descrip"] = f"{CANARY}^Descrip 19400229"
    if kind is nibabel.Nifti1Image:
        image.header["db_name"], image.header["aux_file"] = f"{CANARY}Db", f"{CANARY}Aux"
    image.header["intent_name"] = f"{CANARY}Intent"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", f"{CANARY} Extension".encode()))
    content = image.to_bytes()
    if edit is not None:
        header = kind.header_class(content[: kind.header_class.sizeof_hdr], check=False)
        edit(header)
        content = header.binaryblock + content[len(header.binaryblock) :]
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def slices_of(
    data: np.ndarray, affine: np.ndarray, right: str, down: str, upward: str
) -> tuple[np.ndarray, np.ndarray, tuple[float, float], float]:
    """Cut an image into slices whose rows run to `right`, columns to `down`, and that follow each other to `upward`.

    Returns
    -------
    tuple
        Slices (slice, row, column); positions of their first pixels, LPS mm (slice, 3); row and column size; distance.
    """
    to_ras = {"L": "L", "R": "R", "P": "P", "A": "A", "H": "S", "F": "I"}
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(to_ras[side] for side in (right, down, upward))))
    turned = nibabel.Nifti1Image(data, affine).as_reoriented(turn)
    values, place = np.asarray(turned.dataobj), np.diag([-1, -1, 1, 1]) @ turned.affine
    positions = np.array([(place @ [0, 0, k, 1])[:3] for k in range(values.shape[2])])
    column_mm, row_mm, step_mm = np.linalg.norm(place[:3, :3], axis=0)
    return values.transpose(2, 1, 0), positions, (row_mm, column_mm), step_mm


def _object(sop_class: str, number: int, frames: np.ndarray, pixel_mm: tuple[float, float], study: str) -> Dataset:
    ds = named_object(sop_class, ExplicitVRLittleEndian, study, f"8.{number}")
    ds.Modality, ds.SeriesInstanceUID = "NM" if sop_class == NM else "PT", f"{study}.2"
    ds.ImageType = ["DERIVED", "PRIMARY", "RECON TOMO", "EMISSION"] if sop_class == NM else ["ORIGINAL", "PRIMARY"]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.NumberOfFrames, (ds.Rows, ds.Columns) = len(frames), frames.shape[1:]
    ds.PixelSpacing = [float(size) for size in pixel_mm]
    ds.PixelData = frames.astype("<u2").tobytes()
    return ds


def multi_frame(
    path: Path,
    data: np.ndarray,
    affine: np.ndarray,
    *,
    axes: str = "LPF",
    order: np.ndarray | None = None,
    study: str = "1.2.3",
    edit: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write one NM object; `axes` are the sides that rows and columns run to and slices follow each other to."""
    frames, positions, pixel_mm, step_mm = slices_of(data, affine, *axes)
    order = np.arange(len(frames)) if order is None else order
    ds = _object(NM, 1, frames[order], pixel_mm, study)
    right, down, upward = (np.array(LPS[side]) for side in axes)
    ds.FrameIncrementPointer = 0x00540080
    ds.SliceVector, ds.NumberOfSlices = [int(number) + 1 for number in order], len(frames)
    ds.SliceThickness = float(step_mm)
    ds.SpacingBetweenSlices = float(step_mm * np.sign(np.cross(right, down) @ upward))
    detector = Dataset()
    detector.ImageOrientationPatient = [int(value) for value in (*right, *down)]
    detector.ImagePositionPatient = [float(value) for value in positions[0]]
    ds.DetectorInformationSequence = [detector]
    if edit is not None:
        edit(ds)
    ds.save_as(path, enforce_file_format=True)
    return path


def single_slices(
    folder: Path,
    data: np.ndarray,
    affine: np.ndarray,
    *,
    axes: str = "LPH",
    study: str = "1.2.3",
    edit: Callable[[Dataset, int], None] | None = None,
) -> list[Path]:
    """Write one PET object a slice, in files whose names say nothing about their order."""
    folder.mkdir(parents=True, exist_ok=True)
    frames, positions, pixel_mm, _ = slices_of(data, affine, *axes)
    paths = []
    for number, place in enumerate(np.random.default_rng(0).permutation(len(frames))):
        ds = _object(PET, int(place), frames[place][None], pixel_mm, study)
        del ds.NumberOfFrames
        ds.ImageOrientationPatient = [value for side in axes[:2] for value in LPS[side]]
        ds.ImagePositionPatient = [float(value) for value in positions[place]]
        if edit is not None:
            edit(ds, int(place))
        paths.append(folder / f"{number:03d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths
