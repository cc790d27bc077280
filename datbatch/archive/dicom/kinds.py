"""The kind of object that a header describes, decided before any pixel is read."""

from __future__ import annotations

import re

from datbatch.archive.dicom.elements import Elements
from datbatch.archive.dicom.encapsulated import LOSSLESS
from datbatch.archive.dicom.header import Header
from datbatch.errors import (
    DatbatchError,
    LossyCompressionError,
    NotProjectionsError,
    TruncatedError,
    WrongModalityError,
)

NM_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_PLANAR = {
    "STATIC": "a planar static image",
    "DYNAMIC": "a planar dynamic series",
    "GATED": "a gated planar series",
    "WHOLE BODY": "a whole-body scan",
    "RECON TOMO": "reconstructed slices",
    "RECON GATED TOMO": "reconstructed gated slices",
    "GATED TOMO": "a gated tomographic acquisition",
}


def refusal(header: Header) -> DatbatchError | None:
    """Give the error that refuses an object as projections, or None where its kind is right.

    The error of a cut file is always that it is cut; other damage counts only in objects of nuclear medicine.
    """
    if isinstance(header.problem, TruncatedError):
        return header.problem
    wrong = _wrong_class(header.elements)
    if header.problem is not None:
        named = bool(header.elements.text("SOPClassUID"))
        return wrong if wrong is not None and named else header.problem
    return wrong or _wrong_kind(header.elements) or lossy(header)


def _safe_word(text: str) -> str:
    return text if re.fullmatch(r"[A-Z]{1,10}", text) else "not stated"


def _wrong_class(elements: Elements) -> DatbatchError | None:
    stored, meta = elements.text("SOPClassUID"), elements.text("MediaStorageSOPClassUID")
    modality = _safe_word(elements.text("Modality"))
    if stored == NM_IMAGE_STORAGE:
        if meta not in ("", stored):
            return WrongModalityError("file meta and data set contradict each other about the SOP class")
        if modality not in ("NM", "OT", "not stated"):
            return WrongModalityError(f"the class is NM Image Storage, but Modality is {modality}")
        return None
    if MEDIA_DIRECTORY in (stored, meta):
        return WrongModalityError("a media directory, not an image")
    if modality == "NM" and len(elements.texts("ImageType")) > 2:
        return _wrong_kind(elements) or WrongModalityError("Modality is NM, but the class is not NM Image Storage")
    if not stored:
        return WrongModalityError("no SOP class: not an image")
    return WrongModalityError(f"not of the class NM Image Storage (Modality {modality})")


def _wrong_kind(elements: Elements) -> DatbatchError | None:
    kind = (*elements.texts("ImageType"), "", "", "", "")[:4]
    if kind[2] in _PLANAR:
        return NotProjectionsError(f"{_PLANAR[kind[2]]} (ImageType {kind[2]})")
    if kind[2] != "TOMO":
        return NotProjectionsError("ImageType does not say TOMO")
    if kind[3] != "EMISSION":
        return NotProjectionsError("ImageType says TOMO, but not EMISSION")
    if "SliceVector" in elements.pointers("FrameIncrementPointer"):
        return NotProjectionsError("ImageType says TOMO, but FrameIncrementPointer says slices")
    return None


def lossy(header: Header) -> DatbatchError | None:
    """Give the error that refuses pixels of a lossy compression, or None."""
    compressed = header.transfer_syntax.startswith("1.2.840.10008.1.2.4.")
    if compressed and header.transfer_syntax not in LOSSLESS:
        return LossyCompressionError("the transfer syntax allows loss")
    if header.elements.text("LossyImageCompression") == "01":
        return LossyCompressionError("LossyImageCompression says that the pixels lost information")
    return None
