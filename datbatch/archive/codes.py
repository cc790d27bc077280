"""The meaning of every code of the store, and its remedy."""

from __future__ import annotations

from datbatch import errors, schema
from datbatch.archive.inclusion import EXCLUSIONS, NOT_INDICATED, SYSTEM_NOT_ELIGIBLE
from datbatch.archive.labels import ATYPICAL

_REMEDIES = {
    NOT_INDICATED: "None; correct the participants table if the indication is wrong.",
    SYSTEM_NOT_ELIGIBLE: 'None; archive.inclusion = "all" would keep it.',
    ATYPICAL: "None; the paper excludes such studies.",
}
"""Remedies for the decisions of `archive.inclusion`, which are not errors."""

_FLAGS = {
    "rotation-start-ignored": ("The rotation's start angle differs from the detectors'.", "None; theirs is used."),
    "start-angle-from-rotation": ("No detector states its start angle.", "None; it follows from the rotation's."),
    "step-from-arc": ("The angular step is not stated.", "None; it follows from arc and views."),
    "view-order-from-frames": ("The vector of angular views is empty.", "None; views are in the order of frames."),
    "arc-partial": ("The views cover neither 180 nor 360 degrees.", "Beware of artefacts; look for missing files."),
    "windows-summed": ("The photopeak has several ranges, which were added.", "None."),
    "rotations-summed": ("Several rotations were added.", "None; motion between them is not detected."),
    "heads-summed": ("Heads that saw the same angles were added.", "None; motion between them is not detected."),
    "derived-left-out": ("There are derived objects beside the original ones.", "None; the original ones were read."),
    "modality-not-nm": ("The modality is not NM, but the class is.", "Correct the header if it matters to others."),
    "collimator-unknown": ("The collimator is not stated; parallel holes were assumed.", "Check the camera."),
    "continuous-motion": ("The detectors moved while they counted.", "None; angles are those of the middle of a view."),
    "patient-position-unstated": ("The patient's position is not stated; head first supine was assumed.", "Check it."),
    "pixels-saturated": ("Pixels have the greatest value that can be stored.", "Look at the projections."),
    "hot-spot": ("A point is far hotter than the head: a marker, or contamination.", "Look at the projections."),
    "injected-activity-implausible": ("The stated activity is impossible and was left out.", "Check it and its unit."),
    "delay-implausible": ("The stated times contradict each other; no delay was derived.", "Check the times."),
    "frame-duration-differs": ("Files state different durations of a view; none is used.", "Check the durations."),
    "count-jump": ("The counts jump between neighbouring views.", "Look at the projections; reject bad views."),
    "views-repeated": ("The same view is there more than once.", "Export the projections again."),
    "motion": ("The head moved during the acquisition.", "Look at the projections; correct the motion or repeat."),
    "centre-of-rotation": (
        "The axis of rotation does not project to the middle of the matrix.",
        "Let the camera's centre of rotation be calibrated.",
    ),
    "cut-top": ("The field of view leaves out the top of the head.", "Read the upper slices with care."),
    "cut-base": ("The field of view ends within the brain's base.", "Beware of occipital and cerebellar references."),
    "cut-side": ("The head is wider than the field of view.", "Repeat with a smaller zoom; the image has artefacts."),
    "low-counts": ("The projections have fewer counts than usual.", "Read with care; check activity and duration."),
    "delay-unusual": ("The time from injection to imaging is unusual.", "Check the times in the header."),
    "activity-unusual": ("The injected activity is unusual.", "Check the activity and its unit in the header."),
    schema.DEFINITIONS_DISAGREE: (
        "Two definitions of binding give different lower sides, or values that are impossible in one striatum.",
        "Look at the study: a striatum beside its region (normalisation), a lesion, or uptake near it.",
    ),
    schema.REGION_CUT: (
        "More than 5 % of a striatal or background region lies outside the field of view.",
        "Use definitions that need little of it (hottest voxels); values without enough of their region are NaN.",
    ),
    schema.REFERENCE_UNUSUAL: (
        "Occipital and whole-brain uptake differ by more than 15 %.",
        "Before you use a ratio, look for an occipital lesion, activity in the sinuses, or a failed normalisation.",
    ),
}
"""Codes in `flags` (header and projections) and in `quantification_flags` (binding ratios): nothing failed.

`views-missing` is also the code of an error, whose texts explain it."""

_OTHER_CODES = {
    "hidden": ("Its name begins with a dot, or a system made it.", "None."),
    "special": ("A dead link, a device, or a folder that cannot be read.", "Check its permissions."),
    "other": ("Not DICOM by its mark or its name: a table, a text, an archive.", "None."),
    "copy": ("The same object a second time.", "None; the first is used."),
    "unnamed": ("The store gives no code.", "Run `datbatch verify`."),
}
"""Codes of files that are left out, and of rows without a code."""


def explain_code(code: str) -> tuple[str, str]:
    """Give meaning and remedy of a code of the store."""
    if code in EXCLUSIONS:
        return EXCLUSIONS[code][0].upper() + EXCLUSIONS[code][1:] + ".", _REMEDIES.get(code, "None.")
    if found := _FLAGS.get(code) or _OTHER_CODES.get(code):
        return found
    kind = errors.by_code().get(code)
    if kind is None:
        return "A code that this version does not know.", "Look at the reason stored with the study."
    return (kind.__doc__ or "").strip().splitlines()[0], kind.remedy
