"""Where a detector stands and which way its image lies, checked against each other.

In DICOM's patient coordinates (LPS) a detector at angle a stands at n = (sin a, cos a, 0); with the head's rows first,
its image's right is (-cos a, sin a, 0) and its image's down is (0, 0, -1) (DICOM PS3.3 C.8.4, Start Angle (0054,0200)).
"""

from __future__ import annotations

import math

import numpy as np

from datbatch.archive.elements import Elements
from datbatch.errors import ContradictoryGeometryError, UnsupportedGeometryError

AGREEMENT_DEG = 2.0
"""How far StartAngle and ImageOrientationPatient may be apart."""
_TILT_DEG = 5.0

_CODES = {
    # SNOMED RT and CT codes of DICOM's context groups 19, 20 and 21
    "F-10470": "headfirst",
    "102540001": "headfirst",
    "102540008": "headfirst",
    "F-10480": "feetfirst",
    "102541002": "feetfirst",
    "F-10340": "supine",
    "40199007": "supine",
    "F-10310": "prone",
    "1240000": "prone",
    "F-10317": "decubitus",
    "F-10318": "decubitus",
    "F-10319": "decubitus",
    "102535000": "decubitus",
    "102536004": "decubitus",
}
_WORDS = ("headfirst", "feetfirst", "supine", "prone", "decubitus")


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
        False when the image stands head up as usual; True when it is turned by half a circle (feet up, right and left
        of the image exchanged), which both fields then agree about.

    Raises
    ------
    ContradictoryGeometryError
        When the two fields describe different detectors, or a mirrored image.
    UnsupportedGeometryError
        When the detector is tilted.
    """
    if len(orientation) != 6:
        raise ContradictoryGeometryError("ImageOrientationPatient does not have six values")
    right, down = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(right), np.linalg.norm(down)
    if min(lengths) < 0.99 or max(lengths) > 1.01 or abs(right @ down) > 0.02:
        raise ContradictoryGeometryError("ImageOrientationPatient is not a pair of perpendicular unit vectors")
    if abs(down[2]) < math.cos(math.radians(_TILT_DEG)):
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


def check_patient_pose(elements: Elements, oriented: bool) -> None:
    """Refuse patient positions of which no field says how the image lies.

    Parameters
    ----------
    elements : Elements
        The header.
    oriented : bool
        Whether each detector has an ImageOrientationPatient that agrees with its angle: then nothing is left open.

    Raises
    ------
    ContradictoryGeometryError
        When PatientPosition and the code sequences contradict each other.
    UnsupportedGeometryError
        When the patient did not lie head first and supine and there is no ImageOrientationPatient.
    """
    position = elements.text("PatientPosition")
    by_position = set()
    if position[:2] in ("HF", "FF"):
        by_position.add("headfirst" if position[0] == "H" else "feetfirst")
        by_position.add({"S": "supine", "P": "prone"}.get(position[2:], "decubitus"))
    codes = [*elements.items("PatientGantryRelationshipCodeSequence")]
    for item in elements.items("PatientOrientationCodeSequence"):
        codes += item.items("PatientOrientationModifierCodeSequence")
    by_code = {_meaning(code) for code in codes} - {""}
    for pair in (("headfirst", "feetfirst"), ("supine", "prone"), ("supine", "decubitus"), ("prone", "decubitus")):
        if set(pair) <= by_position | by_code:
            raise ContradictoryGeometryError(
                f"PatientPosition and the patient orientation codes contradict each other ({pair[0]}, {pair[1]})"
            )
    unusual = (by_position | by_code) - {"headfirst", "supine"}
    if unusual and not oriented:
        raise UnsupportedGeometryError(
            f"the patient lay {', '.join(sorted(unusual))}, and no ImageOrientationPatient says how the images lie",
            "Export the study with the detectors' ImageOrientationPatient.",
        )


def _meaning(code: Elements) -> str:
    known = _CODES.get(code.text("CodeValue"))
    if known is not None:
        return known
    text = code.text("CodeMeaning").lower().replace("-", "").replace(" ", "")
    return next((word for word in _WORDS if word in text), "")
