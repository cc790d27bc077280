"""What every code of the store means, and what can be done about it."""

from __future__ import annotations

from datbatch import errors
from datbatch.archive.inclusion import EXCLUSIONS, NOT_INDICATED, SYSTEM_NOT_ELIGIBLE
from datbatch.archive.labels import ATYPICAL
from datbatch.cohort import schema

_REMEDIES = {
    NOT_INDICATED: "None; correct the participants table if the indication is wrong.",
    SYSTEM_NOT_ELIGIBLE: 'None; archive.inclusion = "all" would keep it.',
    ATYPICAL: "None; the paper excludes such studies.",
}
"""What can be done about the decisions of `archive.inclusion`, which are no errors."""

_BINDING_FLAGS = {
    schema.DEFINITIONS_DISAGREE: (
        "Two definitions of binding name different sides as the lower one, or give levels that cannot belong to one "
        "striatum.",
        "Look at the study: a striatum beside its region (normalisation), a lesion, or uptake near it.",
    ),
    schema.REGION_CUT: (
        "More than 5 % of a striatal or background region lies outside the field of view.",
        "Use definitions that need little of it (hottest voxels); values without enough of their region are NaN.",
    ),
    schema.REFERENCE_UNUSUAL: (
        "Occipital and whole-brain uptake differ by more than 15 %.",
        "Look for an occipital lesion, activity in the sinuses, or a failed normalisation before any ratio is used.",
    ),
}
"""Flags of `quantification_flags`: the study is done, its values are to be looked at."""

_OTHER_CODES = {
    "hidden": ("Its name begins with a dot, or a system made it.", "None."),
    "special": ("A dead link, a device or a folder that cannot be read.", "Check its permissions."),
    "other": ("Neither marked nor named as DICOM: a table, a text, an archive.", "None."),
    "copy": ("The same object a second time.", "None; the first is used."),
    "unnamed": ("The store gives no code.", "Run `datbatch verify`."),
}
"""Files that the walk through an archive leaves out, and rows without a code."""


def explain_code(code: str) -> tuple[str, str]:
    """Give meaning and remedy of a code of the store."""
    if code in EXCLUSIONS:
        return EXCLUSIONS[code][0].upper() + EXCLUSIONS[code][1:] + ".", _REMEDIES.get(code, "None.")
    if code in _BINDING_FLAGS:
        return _BINDING_FLAGS[code]
    if code in _OTHER_CODES:
        return _OTHER_CODES[code]
    kind = errors.by_code().get(code)
    if kind is None:
        return "A code that this version does not know.", "Look at the reason stored with the study."
    return (kind.__doc__ or "").strip().splitlines()[0], kind.remedy
