"""Compare the place of a detector with the orientation of its image.

In DICOM's patient coordinates (LPS) a detector at angle a stands at n = (sin a, cos a, 0). With the head at the top of
its image, the image's right is (-cos a, sin a, 0) and down is (0, 0, -1) (PS3.3 C.8.4, Start Angle (0054,0200)).
"""

from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.elements import Elements
from datbatch.errors import ContradictoryGeometryError, UnsupportedGeometryError

AGREEMENT_DEG = 2.0
"""Greatest angle between StartAngle and ImageOrientationPatient."""
MAX_TILT_DEG = 5.0
"""With more tilt a detector does not see planes across the axis of rotation."""
_LEAST_AGREEMENT = 0.25
"""Least cosine of the angle between two statements in words about one direction."""

# By meaning: the SNOMED RT and CT codes of DICOM's context groups 19, 20 and 21, and words of free texts.
_CODES = {
    "head first": ("F-10470", "102540001", "102540008"),
    "feet first": ("F-10480", "102541002"),
    "supine": ("F-10340", "40199007"),
    "prone": ("F-10310", "1240000"),
    "decubitus": ("F-10317", "F-10318", "F-10319", "102535000", "102536004"),
    "recumbent": ("F-10450", "102538003"),
    "erect": ("F-10440", "10904000", "F-10320"),
}
_WORDS = {
    "head first": ("headfirst", "headin"),
    "feet first": ("feetfirst", "footfirst", "feetin"),
    **{word: (word,) for word in ("supine", "prone", "decubitus", "recumbent")},
    "erect": ("erect", "standing"),
}
_EXCLUSIVE = (("head first", "feet first"), ("supine", "prone", "decubitus"), ("recumbent", "erect"))
_MODIFIER, _GANTRY = "PatientOrientationModifierCodeSequence", "PatientGantryRelationshipCodeSequence"
_UNKNOWN = "in a position that is not known"
_POSITION = re.compile(r"(HF|FF)(S|P|DR|DL)")
_LETTERS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
_VIEWS_DEG = {"posterior": 0.0, "left lateral": 90.0, "anterior": 180.0, "right lateral": 270.0}
"""Angle of a detector by the side from which it sees the patient."""


def image_is_turned(start_deg: float, orientation: tuple[float, ...]) -> bool:
    """Compare a detector's ImageOrientationPatient with its start angle.

    Parameters
    ----------
    start_deg : float
        Angle of the detector.
    orientation : tuple of 6 float
        Direction cosines of the image's rows and columns, LPS.

    Returns
    -------
    bool
        False when the head is at the top of the image, as usual; True when the image is turned by half a circle (feet
        at the top, right and left of the image exchanged).

    Raises
    ------
    ContradictoryGeometryError
        When the two fields describe different detectors, or a mirrored image.
    UnsupportedGeometryError
        When the detector is tilted.
    """
    right, down = plane_directions(orientation)
    if abs(down[2]) < math.cos(math.radians(MAX_TILT_DEG)):
        raise UnsupportedGeometryError("the detector is tilted or turned (ImageOrientationPatient)")
    turned = bool(down[2] > 0)
    angle = math.radians(start_deg)
    expected = np.array([-math.cos(angle), math.sin(angle), 0.0]) * (-1.0 if turned else 1.0)
    if right @ expected < math.cos(math.radians(AGREEMENT_DEG)):
        stated = math.degrees(math.atan2(right[1], -right[0])) + (180.0 if turned else 0.0)
        raise ContradictoryGeometryError(
            f"StartAngle says {start_deg % 360:g} degrees, ImageOrientationPatient says {stated % 360:g}"
        )
    return turned


def check_row_and_column(letters: tuple[str, ...], angle_deg: float, turned: bool) -> None:
    """Compare PatientOrientation (`letters`) with the first frame's detector angle and orientation (`turned`)."""
    angle, sign = math.radians(angle_deg), -1.0 if turned else 1.0
    right, down = (-sign * math.cos(angle), sign * math.sin(angle), 0.0), (0.0, 0.0, -sign)
    other = "ImageOrientationPatient" if turned else f"StartAngle ({angle_deg % 360:g})"
    check_letters(letters, np.array(right), np.array(down), other)


def check_letters(
    letters: tuple[str, ...], right: npt.NDArray[np.float64], down: npt.NDArray[np.float64], other: str
) -> None:
    """Refuse a PatientOrientation that contradicts the directions of rows and columns (LPS), taken from `other`.

    Only letters for rows and for columns, such as R and F, are a statement; other values are ignored.
    """
    if len(letters) != 2 or not all(each and set(each) <= set(_LETTERS) for each in letters):
        return
    for each, direction, name in zip(letters, (right, down), ("rows", "columns"), strict=True):
        stated = np.sum([_LETTERS[letter] for letter in each], axis=0)
        length = float(np.linalg.norm(stated))
        if length == 0.0 or stated @ direction / length < _LEAST_AGREEMENT:
            raise ContradictoryGeometryError(f"PatientOrientation says that {name} run to {each}, against {other}")


def plane_directions(orientation: tuple[float, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give the directions of rows and columns (LPS) from ImageOrientationPatient: perpendicular unit vectors."""
    if len(orientation) != 6:
        raise ContradictoryGeometryError("ImageOrientationPatient does not have six values")
    right, down = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(right), np.linalg.norm(down)
    if min(lengths) < 0.99 or max(lengths) > 1.01 or abs(right @ down) > 0.02:
        raise ContradictoryGeometryError("ImageOrientationPatient is not a pair of perpendicular unit vectors")
    return right / lengths[0], down / lengths[1]


def check_view_names(item: Elements, start_deg: float) -> None:
    """Refuse a ViewCodeSequence that names a side a quarter of a circle or more away from the detector's angle."""
    for code in item.items("ViewCodeSequence"):
        # Cameras write free text here: only the usual names of projections are statements.
        name = code.text("CodeMeaning").lower().removesuffix(" projection").removesuffix(" view")
        stated = _VIEWS_DEG.get(name)
        if stated is not None and math.cos(math.radians(stated - start_deg)) < _LEAST_AGREEMENT:
            raise ContradictoryGeometryError(
                f"StartAngle says {start_deg % 360:g} degrees, ViewCodeSequence says {name} ({stated:g})"
            )


def check_patient_pose(elements: Elements, oriented: bool) -> tuple[str, ...]:
    """Refuse a position of the patient in which the orientation of the image is not known.

    In the standard, angles refer to the patient in every position. The orientation of the image is known only from
    ImageOrientationPatient, or because head first and supine is usual.

    Parameters
    ----------
    elements : Elements
        The header.
    oriented : bool
        Whether each detector has an ImageOrientationPatient that agrees with its angle.

    Returns
    -------
    tuple of str
        `patient-position-unstated` where no field says whether the head or the feet went first.

    Raises
    ------
    ContradictoryGeometryError
        When two fields contradict each other.
    UnsupportedGeometryError
        When the patient did not lie head first and supine and there is no ImageOrientationPatient.
    """
    stated = _stated_positions(elements)
    for group in _EXCLUSIVE:
        said = [(field, value) for field, value in stated if value in group]
        for field, value in said[1:]:
            if value != said[0][1]:
                raise ContradictoryGeometryError(f"{said[0][0]} says {said[0][1]}, {field} says {value}")
    unusual = {value for _, value in stated} - {"head first", "supine", "recumbent"}
    if unusual and not oriented:
        raise UnsupportedGeometryError(
            f"the patient lay {', '.join(sorted(unusual))}, and no ImageOrientationPatient says how the images lie",
            "Export the study with the detectors' ImageOrientationPatient.",
        )
    known = oriented or any(value in _EXCLUSIVE[0] for _, value in stated)
    return () if known else ("patient-position-unstated",)


def _stated_positions(elements: Elements) -> list[tuple[str, str]]:
    """Give (field, value) of everything that the header says about the patient's position."""
    found = []
    position = elements.text("PatientPosition").upper()
    match = _POSITION.fullmatch(position)
    if match:
        found.append(("PatientPosition", "head first" if match[1] == "HF" else "feet first"))
        found.append(("PatientPosition", {"S": "supine", "P": "prone"}.get(match[2], "decubitus")))
    elif position:
        found.append(("PatientPosition", _UNKNOWN))
    for item in elements.items("PatientOrientationCodeSequence"):
        found += _meanings("PatientOrientationCodeSequence", (item,))
        found += _meanings(_MODIFIER, item.items(_MODIFIER))
    return found + _meanings(_GANTRY, elements.items(_GANTRY))


def _meanings(field: str, codes: tuple[Elements, ...]) -> list[tuple[str, str]]:
    found = []
    for code in codes:
        value, text = code.text("CodeValue"), code.text("CodeMeaning")
        plain = re.sub(r"[^a-z]", "", text.lower())
        known = [
            (field, meaning)
            for meaning in sorted(_CODES)
            if value in _CODES[meaning] or any(word in plain for word in _WORDS[meaning])
        ]
        found += known or ([(field, _UNKNOWN)] if value or text else [])
    return found
