"""The one registry of what the cohort store holds: grid, regions, statistics, arrays and table columns.

Pure data: importable everywhere, imports neither zarr nor xarray.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from datbatch import errors

LAYOUT_VERSION, OLDEST_LAYOUT = 3, 2
"""Layout of the store that is written, and the oldest one that is read and can be migrated."""

SPACING_MM = 2.0
SHAPE = (91, 109, 63)
ORIGIN_MM = (-90.0, -126.0, -44.0)
"""Centre of voxel (0, 0, 0): the MNI box at 2 mm, cut below and above (giving the paper's 236 million parameters)."""


def coordinates_mm(axis: int) -> npt.NDArray[np.float64]:
    """Give the voxel centres along x (0), y (1) or z (2), in MNI millimetres, RAS."""
    return ORIGIN_MM[axis] + SPACING_MM * np.arange(SHAPE[axis], dtype=np.float64)


def grid_affine() -> npt.NDArray[np.float64]:
    """Give the (4, 4) matrix from voxel index to MNI millimetres, RAS."""
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = ORIGIN_MM
    return affine


NEGATIVE, POSITIVE = "negative", "positive"
LABELS = (NEGATIVE, POSITIVE)
"""Class names in the order of the network's outputs: normal, reduced uptake."""

AGE_CAP_YEARS = 89.0
"""Whatever leaves the store gives ages above this as this: a higher age can point to a person (45 CFR
164.514(b)(2)(i)(C))."""

SIDES = ("ipsilateral", "contralateral")
"""In the store every study is mirrored so that the side of lower putamen binding (ipsilateral) lies left (x < 0): lower
in proportion to the two sides of the template, since healthy putamina are no mirror images of each other."""

REGIONS = (
    "putamen_ipsilateral",
    "putamen_contralateral",
    "caudate_ipsilateral",
    "caudate_contralateral",
    "thalamus",
    "brain_stem",
    "ventricles",
    "occipital",
    "whole_brain",
    "reference",
)
"""Names along `region`. `reference` is the whole brain without striata, thalamus, brain stem and ventricles."""

DEFINITIONS = ("hottest_voxels", "fixed_regions", "large_volume")
"""Names along `definition`: ways to say how much of the tracer is bound in a striatal region."""
BACKGROUNDS = ("reference", "occipital", "whole_brain")
"""Names along `background`: regions of `REGIONS` whose uptake counts as not bound."""
STRUCTURES = ("putamen", "caudate", "striatum")
"""Names along `structure`; the striatum is putamen and caudate together."""
STRIATAL = tuple(f"{structure}_{side}" for structure in STRUCTURES for side in SIDES)
"""Names along `striatal`."""
BINDING_LABELS = {
    "definition": DEFINITIONS,
    "background": BACKGROUNDS,
    "striatal": STRIATAL,
    "structure": STRUCTURES,
    "side": SIDES,
}
"""Names along the dimensions of the binding ratios, by dimension."""
UNCERTAIN = "uncertain"
"""Value of `lower_side` where neither left nor right can be told."""
DEFINITIONS_DISAGREE, REGION_CUT, REFERENCE_UNUSUAL = "definitions-disagree", "region-cut", "reference-unusual"
QUANTIFICATION_FLAGS = (DEFINITIONS_DISAGREE, REGION_CUT, REFERENCE_UNUSUAL)
"""Codes of `quantification_flags`."""
ATLAS_LABELS = (*REGIONS, "pallidum", "accumbens")
"""Names of the values of `labels`, from 1. Pallidum and accumbens are no regions of their own, but the reference keeps
from them as from putamen and caudate."""

STATISTICS = (
    "mean",
    "hottest_mean",
    "maximum",
    "maximum_x",
    "maximum_y",
    "maximum_z",
    "minimum",
    "minimum_x",
    "minimum_y",
    "minimum_z",
    "positive_mass",
    "negative_mass",
)
"""Names along `statistic`: of relevance in one region; positions in MNI mm; a mass sums the magnitudes of one sign."""

ANGLE_SECTOR_DEG = 6.0
ANGLES_DEG = tuple(ANGLE_SECTOR_DEG * (sector + 0.5) for sector in range(60))
"""Values along `angle`: middle of each sector of the detector's angle, 0 at the patient's back, growing to the left."""

SIMULATED = "Simulated"
"""Word that every simulated scanner bears in its name, so that reports can say what the studies are."""

DONE, FAILED, EXCLUDED, PENDING = errors.DONE.status, errors.FAILED, errors.EXCLUDED, "pending"
STATUSES = (DONE, FAILED, EXCLUDED, PENDING)


PROJECTIONS, TOMOGRAM = "projections", "tomogram"
"""What a study was read from: raw projections, or slices that were reconstructed elsewhere."""


@dataclass(frozen=True)
class Variable:
    """One array of the store."""

    name: str
    dims: tuple[str, ...]
    dtype: Literal["float32", "float64", "bool", "uint8", "int32", "int64", "str"]
    description: str
    units: str = ""
    coordinate: bool = False
    """Whether it is a coordinate of its group, so that `cohort.uptake.groupby("site")` works.

    All texts are: they have no fill value for missing, so that `Dataset.where` must leave them alone.
    """
    source: str = "manifest"
    """Who fills it: `manifest`, `run`, a stage's name, or `train`."""


STUDY_TABLE = (
    Variable("study", ("study",), "str", "pseudonym: keyed hash, the key stands beside the store", coordinate=True),
    Variable(
        "person",
        ("study",),
        "str",
        "pseudonym of the person: keyed hash of the PatientID; empty where not known",
        coordinate=True,
    ),
    Variable(
        "source",
        ("study",),
        "str",
        "what it was read from: projections, or a tomogram that was reconstructed elsewhere and imported",
        coordinate=True,
    ),
    Variable("site", ("study",), "str", "site of the participants table", coordinate=True),
    Variable("scanner", ("study",), "str", "manufacturer and model", coordinate=True, source="reconstruct"),
    Variable("sex", ("study",), "str", "F, M or empty", coordinate=True),
    Variable("age", ("study",), "float64", "age at the examination", "years", coordinate=True),
    Variable("label", ("study",), "str", "standard of truth: negative, positive or empty", coordinate=True),
    Variable("split", ("study",), "str", "train, validation, test or empty", coordinate=True, source="train"),
    Variable("status", ("study",), "str", "done, failed, excluded or pending", coordinate=True),
    Variable("error_code", ("study",), "str", "stable code of why a study failed or was excluded", coordinate=True),
    Variable("error_stage", ("study",), "str", "stage in which it failed", coordinate=True),
    Variable("error_reason", ("study",), "str", "what was found, without identity", coordinate=True),
    Variable(
        "reads",
        ("study", "read"),
        "str",
        "single reads: reader 1 first to third, reader 2 first to third, joint",
        coordinate=True,
    ),
    Variable("counts", ("study",), "float64", "sum of all projections", "counts", source="reconstruct"),
    Variable("views", ("study",), "int32", "projections read, 0 of a tomogram", source="reconstruct"),
    Variable("pixel_size_mm", ("study",), "float64", "size of a projection bin", "mm", source="reconstruct"),
    Variable(
        "counts_by_angle",
        ("study", "angle"),
        "float32",
        "mean counts of a view by the detector's angle",
        "counts",
        source="reconstruct",
    ),
    Variable(
        "count_jump",
        ("study",),
        "float64",
        "largest step of the counts between neighbouring views, as a fraction; 0 where noise explains all",
        "1",
        source="reconstruct",
    ),
    Variable("missing_views", ("study",), "int32", "views that the regular sampling lacks", source="reconstruct"),
    Variable("repeated_views", ("study",), "int32", "views that are there twice", source="reconstruct"),
    Variable(
        "motion_mm",
        ("study",),
        "float64",
        "largest distance between two positions of the head during the acquisition",
        "mm",
        source="reconstruct",
    ),
    Variable("motion_axial_mm", ("study",), "float64", "motion along the axis of rotation", "mm", source="reconstruct"),
    Variable(
        "motion_transaxial_mm", ("study",), "float64", "motion across the axis of rotation", "mm", source="reconstruct"
    ),
    Variable(
        "centre_of_rotation_mm",
        ("study",),
        "float64",
        "where the axis of rotation projects to, from the middle of the matrix",
        "mm",
        source="reconstruct",
    ),
    Variable("radius_mm", ("study",), "float64", "mean radius of rotation", "mm", source="reconstruct"),
    Variable("seconds_per_view", ("study",), "float64", "duration of a view", "s", source="reconstruct"),
    Variable("injected_activity_mbq", ("study",), "float64", "injected activity", "MBq", source="reconstruct"),
    Variable(
        "injection_delay_min", ("study",), "float64", "from injection to acquisition", "min", source="reconstruct"
    ),
    Variable(
        "flags",
        ("study",),
        "str",
        "codes of what was unusual, separated by spaces",
        coordinate=True,
        source="reconstruct",
    ),
    Variable(
        "template_to_study",
        ("study", "to", "from"),
        "float64",
        "affine, MNI mm to study mm, RAS",
        source="register",
    ),
    Variable("quality_correlation", ("study",), "float64", "correlation with the template", source="register"),
    Variable(
        "quality_coarse_correlation",
        ("study",),
        "float64",
        "correlation with the template, both smoothed strongly",
        source="register",
    ),
    Variable(
        "quality_outline_dice",
        ("study",),
        "float64",
        "overlap of outlines with the template",
        source="register",
    ),
    Variable(
        "quality_coverage",
        ("study",),
        "float64",
        "share of the brain inside the field of view",
        source="register",
    ),
    Variable(
        "quality_drift_mm",
        ("study",),
        "float64",
        "how far a fit on strongly smoothed images moves the head",
        "mm",
        source="register",
    ),
    Variable("quality_size", ("study",), "float64", "length of the head over the template's", source="register"),
    Variable("quality_shear", ("study",), "float64", "logarithmic stretch besides size", source="register"),
    Variable(
        "quality_failure_probability",
        ("study",),
        "float64",
        "probability of failure, from the other scores",
        source="register",
    ),
    Variable("reference_value", ("study",), "float64", "what intensities were divided by", source="quantify"),
    Variable("mirrored", ("study",), "bool", "whether left and right were exchanged", source="quantify"),
    Variable(
        "lower_side",
        ("study",),
        "str",
        "patient's side of lower putamen binding: left, right, or uncertain where counting noise may be the difference",
        coordinate=True,
        source="quantify",
    ),
    Variable(
        "specific_binding_ratio",
        ("study", "region"),
        "float64",
        "hottest voxels (striatal regions) or mean (others), less reference, over reference",
        source="quantify",
    ),
    Variable(
        "binding_ratio",
        ("study", "definition", "background", "striatal"),
        "float64",
        "specific binding ratio by every definition and background",
        source="quantify",
    ),
    Variable(
        "asymmetry_index",
        ("study", "definition", "structure"),
        "float64",
        "contralateral less ipsilateral binding ratio over their mean, background reference",
        "%",
        source="quantify",
    ),
    Variable(
        "putamen_to_caudate_ratio",
        ("study", "definition", "side"),
        "float64",
        "binding ratio of the putamen over that of the caudate, background reference",
        source="quantify",
    ),
    Variable(
        "quantification_flags",
        ("study",),
        "str",
        "codes of what was unusual about the binding ratios, separated by spaces",
        coordinate=True,
        source="quantify",
    ),
)
"""Variables of the root with one row per study."""

READS = (
    "reader1_first",
    "reader1_second",
    "reader1_third",
    "reader2_first",
    "reader2_second",
    "reader2_third",
    "joint",
)
"""Names along `read`: negative, positive, atypical (joint only) or empty."""

UPTAKE = Variable(
    "uptake",
    ("study", "x", "y", "z"),
    "float32",
    "reconstructed, normalised to MNI, scaled to the reference region, mirrored (ipsilateral left)",
    "1",
    source="quantify",
)

ATLAS = Variable("labels", ("x", "y", "z"), "uint8", "regions of the atlas, 0 outside the brain", source="run")
TEMPLATE = Variable("template", ("x", "y", "z"), "float32", "image that the studies were normalised to", source="run")

RELEVANCE_MAP = Variable(
    "map", ("study", "x", "y", "z"), "float32", "layer-wise relevance of each voxel", "1", source="explain"
)
RELEVANCE_TABLE = (
    Variable(
        "regional",
        ("study", "region", "statistic"),
        "float64",
        "statistics of relevance by region",
        source="explain",
    ),
    Variable("probability", ("study",), "float64", "probability of the positive class", "1", source="explain"),
    Variable("log_odds", ("study",), "float64", "logit of positive less logit of negative", "1", source="explain"),
    Variable("predicted", ("study",), "str", "negative or positive", coordinate=True, source="explain"),
    Variable(
        "split",
        ("study",),
        "str",
        "train, validation, test or empty, when the model was trained",
        coordinate=True,
        source="explain",
    ),
    Variable(
        "inconsistent",
        ("study",),
        "bool",
        "map typical of the class that was not predicted",
        source="explain",
    ),
)
"""Tables of one model's group, `relevance/<model>`.

The regional table is not called `region`: a variable of that name would hide the labels of the inherited dimension.
"""


NORMAL_RANGE = "normal_range"
"""Name of the group that says what is normal; no variable of the root may be called like it."""

MEASURES = (
    *(f"{definition} {striatal}" for definition in DEFINITIONS for striatal in STRIATAL),
    *(f"asymmetry {definition} {structure}" for definition in DEFINITIONS for structure in STRUCTURES),
    *(f"putamen_to_caudate {definition} {side}" for definition in DEFINITIONS for side in SIDES),
)
"""Names along `measure`: binding ratios (background: reference), then asymmetry indices, then ratios of structures."""

NORMAL_RANGE_TABLE = (
    Variable("z_score", ("study", "measure"), "float64", "value less expected, over prediction sd", source="norms"),
    Variable("expected", ("study", "measure"), "float64", "normal value at the study's age, sex, site", source="norms"),
    Variable("lower", ("study", "measure"), "float64", "lower end of the 95 % prediction interval", source="norms"),
    Variable("upper", ("study", "measure"), "float64", "upper end of the 95 % prediction interval", source="norms"),
    Variable("harmonised", ("study", "measure"), "float64", "value without the effect of its site", source="norms"),
    Variable("recovered", ("study", "measure"), "float64", "value over the camera's phantom recovery", source="norms"),
    Variable("recovered_sd", ("study", "measure"), "float64", "sd of it that the recovery's sd makes", source="norms"),
    Variable(
        "split",
        ("study",),
        "str",
        "train, validation, test or empty, when the normal range was fitted",
        coordinate=True,
        source="norms",
    ),
    Variable(
        "warnings",
        ("study",),
        "str",
        "codes of what limits the comparison, separated by spaces",
        coordinate=True,
        source="norms",
    ),
)
"""Tables of the group `normal_range`."""
