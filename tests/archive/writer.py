"""A small writer of NM TOMO objects in many header styles, sharing no code with the package.

Point sources at known patient coordinates (LPS, mm) project to Gaussian blobs: a detector at angle a sees a source p at
u = p . (-cos a, sin a, 0) to the right of the axis and at z above the middle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.archive.encoders import by_others, jpeg_lossless

NM = "1.2.840.10008.5.1.4.1.1.20"
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg": JPEGLosslessSV1,
    "jpeg process 14": JPEGLossless,
    "jpeg ls": JPEGLSLossless,
    "jpeg 2000": JPEG2000Lossless,
}
UNCOMPRESSED = ("explicit", "implicit", "big", "deflated")
LEFT, FRONT_RIGHT, BACK = (70.0, 5.0, 20.0), (-35.0, -60.0, -15.0), (10.0, 50.0, 0.0)
SOURCES = ((LEFT, 900.0), (FRONT_RIGHT, 500.0), (BACK, 300.0))
SIGMA_MM = 7.0


@dataclass(frozen=True)
class Style:
    """One way to write the same acquisition."""

    name: str
    starts_deg: tuple[float, ...] = (0.0, 180.0)
    direction: str = "CC"
    views: int = 60
    """Per head."""
    arc_deg: float = 180.0
    """Per head."""
    rows: int = 48
    bins: int = 64
    row_mm: float = 4.4
    bin_mm: float = 4.4
    start_in: str = "detector"
    """detector, rotation, both."""
    interleaved: bool = False
    windows_kev: tuple[tuple[float, float], ...] = ((143.1, 174.9),)
    unit_kev: float = 1.0
    split: str = ""
    """What each file holds: all, or one `view`, `head` or `window`."""
    orientation: bool = False
    feet_up: bool = False
    syntax: str = "explicit"
    bits: int = 16
    rotations: int = 1
    edit: Callable[[Dataset], None] | None = None

    @property
    def step_deg(self) -> float:
        return self.arc_deg / self.views

    def angle(self, head: int, view: int) -> float:
        sense = 1.0 if self.direction == "CC" else -1.0
        return (self.starts_deg[head] + sense * self.step_deg * view) % 360.0


def project(angle_deg: float, rows: int, bins: int, row_mm: float, bin_mm: float) -> np.ndarray:
    """Give the analytic projection (row, bin) of the sources, row 0 at the head."""
    angle = np.radians(angle_deg)
    z = ((rows - 1) / 2.0 - np.arange(rows)) * row_mm
    u = (np.arange(bins) - (bins - 1) / 2.0) * bin_mm
    image = np.zeros((rows, bins))
    for (x, y, height), strength in SOURCES:
        across = -x * np.cos(angle) + y * np.sin(angle)
        blob = np.exp(-((z - height)[:, None] ** 2 + (u - across) ** 2) / (2.0 * SIGMA_MM**2))
        image += strength * blob
    return image


def counts(style: Style, head: int, view: int) -> np.ndarray:
    """Give the whole-number counts of a view."""
    image = project(style.angle(head, view), style.rows, style.bins, style.row_mm, style.bin_mm)
    if style.bits == 8:
        image /= 8.0
    return np.rint(image)


def frames_of(style: Style) -> list[tuple[int, int, int, int]]:
    """Give (window, rotation, head, view) of each frame, counted from 0, in the style's order."""
    heads, views = range(len(style.starts_deg)), range(style.views)
    places = [(h, v) for v in views for h in heads] if style.interleaved else [(h, v) for h in heads for v in views]
    windows, rotations = range(len(style.windows_kev)), range(style.rotations)
    return [(w, r, h, v) for w in windows for r in rotations for h, v in places]


def named_object(sop_class: str, syntax: str, study: str, number: str) -> Dataset:
    """Give an object of grey pixels that names a person, a place and a camera, in all ways that must not come out."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"{study}.{number}"
    ds.StudyInstanceUID, ds.AccessionNumber = study, "Canary-ACC"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Canary^Named", "Canary-ID", "19400229"
    ds.InstitutionName, ds.StudyDescription = "Canary Hospital", "Canary description"
    ds.StudyDate, ds.PatientSex, ds.PatientAge = "20100303", "F", "070Y"
    ds.Manufacturer, ds.ManufacturerModelName = "SIEMENS NM", "Symbia Canary^Named T2"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    return ds


def dataset(style: Style, frames: list[tuple[int, int, int, int]], *, study: str = "1.2.3", number: int = 0) -> Dataset:
    ds = named_object(NM, SYNTAXES[style.syntax], study, f"7.{number}")
    ds.Modality, ds.SeriesInstanceUID, ds.ImageType = "NM", f"{study}.1", ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]
    ds.FrameIncrementPointer = [0x00540010, 0x00540020, 0x00540050, 0x00540090]
    _vectors(ds, style, frames)
    ds.DetectorInformationSequence = [_detector(style, head) for head in _held(style, frames, 2)]
    ds.RotationInformationSequence = [_rotation(style) for _ in range(style.rotations)]
    ds.NumberOfFrames, ds.Rows, ds.Columns = len(frames), style.rows, style.bins
    ds.PixelSpacing = [style.row_mm, style.bin_mm]
    ds.BitsAllocated = ds.BitsStored = style.bits
    ds.HighBit = style.bits - 1
    _pixels(ds, style, frames)
    if style.edit is not None:
        style.edit(ds)
    return ds


def _held(style: Style, frames: list[tuple[int, int, int, int]], axis: int) -> list[int]:
    """Give the heads or windows that an object describes: all, or only those that it holds."""
    whole = {0: range(len(style.windows_kev)), 2: range(len(style.starts_deg))}[axis]
    return sorted({frame[axis] for frame in frames}) if style.split else list(whole)


def _vectors(ds: Dataset, style: Style, frames: list[tuple[int, int, int, int]]) -> None:
    windows, heads = _held(style, frames, 0), _held(style, frames, 2)
    ds.EnergyWindowVector = [windows.index(w) + 1 for w, _, _, _ in frames]
    ds.DetectorVector = [heads.index(h) + 1 for _, _, h, _ in frames]
    ds.RotationVector = [r + 1 for _, r, _, _ in frames]
    ds.AngularViewVector = [v + 1 for _, _, _, v in frames]
    ds.NumberOfEnergyWindows, ds.NumberOfDetectors, ds.NumberOfRotations = len(windows), len(heads), style.rotations
    ds.EnergyWindowInformationSequence = []
    for window in windows:
        limits, item = Dataset(), Dataset()
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = (
            round(limit / style.unit_kev, 2) for limit in style.windows_kev[window]
        )
        item.EnergyWindowRangeSequence = [limits]
        ds.EnergyWindowInformationSequence.append(item)


def _detector(style: Style, head: int) -> Dataset:
    item = Dataset()
    item.CollimatorType, item.RadialPosition = "PARA", 135.0
    if style.start_in != "rotation":
        item.StartAngle = style.starts_deg[head]
    if style.orientation:
        angle = np.radians(style.starts_deg[head])
        turn = -1.0 if style.feet_up else 1.0
        right = [round(float(v), 7) for v in (-turn * np.cos(angle), turn * np.sin(angle), 0.0)]
        item.ImageOrientationPatient = [*right, 0.0, 0.0, -turn]
    return item


def _rotation(style: Style) -> Dataset:
    item = Dataset()
    if style.start_in != "detector":
        item.StartAngle = style.starts_deg[0]
    item.AngularStep, item.ScanArc, item.RotationDirection = style.step_deg, style.arc_deg, style.direction
    item.NumberOfFramesInRotation = style.views
    return item


def _pixels(ds: Dataset, style: Style, frames: list[tuple[int, int, int, int]]) -> None:
    order = ">" if style.syntax == "big" else "<"
    images = np.zeros((len(frames), style.rows, style.bins), dtype=f"{order}u{style.bits // 8}")
    for place, (window, _, head, view) in enumerate(frames):
        lower, upper = style.windows_kev[window]
        image = counts(style, head, view)
        # Other windows show the mirrored, fainter head: reading them is noticed.
        image = image if lower <= 159.0 <= upper else image[::-1, ::-1] // 2
        images[place] = image[::-1, ::-1] if style.feet_up else image
    if style.syntax in UNCOMPRESSED:
        ds.PixelData = images.tobytes()
        ds["PixelData"].VR = "OW"
    else:
        ds.PixelData = encapsulate([encoded(style, images, k) for k in range(len(images))])
        ds["PixelData"].VR = "OB"


def encoded(style: Style, images: np.ndarray, place: int) -> bytes:
    image = images[place]
    if style.syntax == "jpeg":
        return jpeg_lossless(image, bits=style.bits)
    if style.syntax == "jpeg process 14":
        return jpeg_lossless(image, predictor=1 + place % 7, bits=style.bits, restart_rows=place % 3)
    if style.syntax == "jpeg 2000":
        return bytes(encode_array(image, photometric_interpretation=2, use_mct=False))
    if style.syntax == "jpeg ls":
        # Streams of another encoder, of the projections of SMALL.
        return by_others("charls_views")[place]
    options: dict[str, Any] = {
        "rows": style.rows,
        "columns": style.bins,
        "samples_per_pixel": 1,
        "bits_allocated": style.bits,
        "bits_stored": style.bits,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "number_of_frames": 1,
    }
    return RLELosslessEncoder.encode(image.tobytes(), **options)


def write(folder: Path, style: Style, *, study: str = "1.2.3") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    axis = {"window": 0, "head": 2, "view": 3}.get(style.split)
    frames = frames_of(style)
    parts = (
        [frames] if axis is None else [[f for f in frames if f[axis] == n] for n in sorted({f[axis] for f in frames})]
    )
    if style.split == "view":
        parts = [[frame] for part in parts for frame in part]
    paths = []
    for number, part in enumerate(parts):
        paths.append(folder / f"{number:04d}.dcm")
        dataset(style, part, study=study, number=number).save_as(paths[-1], enforce_file_format=True)
    return paths
