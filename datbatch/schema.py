"""The one registry of what the cohort store holds: grid, regions, statistics, arrays and table columns.

Pure data: importable everywhere, imports neither zarr nor xarray.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from datbatch import errors

LAYOUT_VERSION, OLDEST_LAYOUT = 4, 2
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
"""Exports and reports give a higher age as this one: it could identify a person (45 CFR 164.514(b)(2)(i)(C))."""

SIDES = ("ipsilateral", "contralateral")
"""In the store the side of lower putamen binding (ipsilateral) always lies left (x < 0); other studies are mirrored.
Each side is compared with the same side of the template, because healthy putamina are not symmetric."""

PUTAMEN, WHOLE_BRAIN, REFERENCE = "putamen_ipsilateral", "whole_brain", "reference"
REGIONS = (
    *(PUTAMEN, "putamen_contralateral", "caudate_ipsilateral", "caudate_contralateral"),
    *("thalamus", "brain_stem", "ventricles", "occipital", WHOLE_BRAIN, REFERENCE),
)
"""Names along `region`. `reference` is the whole brain without striata, thalamus, brain stem and ventricles."""
STRIATUM = REGIONS[:4]
"""Putamina and caudate nuclei."""

HOTTEST_VOXELS = "hottest_voxels"
DEFINITIONS = (HOTTEST_VOXELS, "fixed_regions", "large_volume")
"""Names along `definition`: ways to measure how much tracer a striatal region binds."""
BACKGROUNDS = (REFERENCE, "occipital", WHOLE_BRAIN)
"""Names along `background`: regions of `REGIONS` whose uptake counts as not specifically bound."""
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
"""Value of `lower_side` where the lower side cannot be determined."""
DEFINITIONS_DISAGREE, REGION_CUT, REFERENCE_UNUSUAL = "definitions-disagree", "region-cut", "reference-unusual"
QUANTIFICATION_FLAGS = (DEFINITIONS_DISAGREE, REGION_CUT, REFERENCE_UNUSUAL)
"""Codes of `quantification_flags`."""
ATLAS_LABELS = (*REGIONS, "pallidum", "accumbens")
"""Names of the values of `labels`, from 1. Pallidum and accumbens are not regions of the results, but the reference
region leaves them out, as it does putamen and caudate."""

HOTTEST_MEAN, POSITIVE_MASS, NEGATIVE_MASS = "hottest_mean", "positive_mass", "negative_mass"
STATISTICS = (
    *("mean", HOTTEST_MEAN, "maximum", "maximum_x", "maximum_y", "maximum_z"),
    *("minimum", "minimum_x", "minimum_y", "minimum_z", POSITIVE_MASS, NEGATIVE_MASS),
)
"""Names along `statistic`: of relevance in one region. Positions are in MNI mm; a mass is the sum of the magnitudes of
one sign."""

ANGLE_SECTOR_DEG = 6.0
ANGLES_DEG = tuple(ANGLE_SECTOR_DEG * (sector + 0.5) for sector in range(60))
"""Values along `angle`: middle of each sector of the detector's angle, 0 at the patient's back, growing to the left."""

SIMULATED = "Simulated"
"""Word in the name of every simulated scanner: from it a report knows that the studies are simulated."""

DONE, FAILED, EXCLUDED, PENDING = errors.DONE.status, errors.FAILED, errors.EXCLUDED, "pending"
STATUSES = (DONE, FAILED, EXCLUDED, PENDING)

IMAGING_STAGES = (RECONSTRUCT, REGISTER, QUANTIFY) = ("reconstruct", "register", "quantify")
"""Names of the stages from files to uptake, in order."""
TRAIN, EXPLAIN, NORMS, EVALUATE, TRUST = "train", "explain", "norms", "evaluate", "trust"
"""Names of the steps after them."""
STAGES, RUN = "stages", "run"
"""Who fills a column that all imaging stages fill, and an image of the whole cohort."""
TRAINING, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
"""Sets that a split makes; a study may be in none (empty text)."""
OUTCOME = ("status", "error_code", "error_stage", "error_reason")
"""Columns of what became of a study."""

PROJECTIONS, TOMOGRAM = "projections", "tomogram"
"""What a study was read from: raw projections, or slices that were reconstructed elsewhere."""

DType = Literal["float32", "float64", "bool", "uint8", "int32", "int64", "str"]


@dataclass(frozen=True)
class Variable:
    """One array of the store."""

    name: str
    dims: tuple[str, ...]
    dtype: DType
    description: str
    units: str = ""
    coordinate: bool = False
    """Whether it is a coordinate of its group, so that `cohort.uptake.groupby("site")` works."""
    writer: str = "manifest"
    """Who fills it: `manifest`, `run`, `train`, `norms`, a stage's name, or `stages`: all of them together."""

    @property
    def is_folded(self) -> bool:
        """Whether it follows from the rows of the ledger."""
        return self.writer in (*IMAGING_STAGES, EXPLAIN, STAGES)


def _text(writer: str, name: str, description: str, *more: str) -> Variable:
    """Describe a text of each study.

    Every text is a coordinate: no text stands for "missing", and `Dataset.where` changes data variables only.
    """
    return Variable(name, ("study", *more), "str", description, coordinate=True, writer=writer)


def _value(writer: str, name: str, description: str, units: str = "", *more: str, dtype: DType = "float64") -> Variable:
    """Describe a number of each study, or an array of numbers with the dimensions `more`."""
    return Variable(name, ("study", *more), dtype, description, units, writer=writer)


STUDY_TABLE = (
    _text("manifest", "study", "pseudonym: keyed hash, the key stands beside the store"),
    _text("manifest", "person", "pseudonym of the person: keyed hash of the PatientID; empty where not known"),
    _text(
        "manifest",
        "source",
        "what it was read from: projections, or a tomogram that was reconstructed elsewhere and imported",
    ),
    _text("manifest", "site", "site of the participants table"),
    _text(RECONSTRUCT, "scanner", "manufacturer and model"),
    _text("manifest", "sex", "F, M or empty"),
    Variable("age", ("study",), "float64", "age at the examination", "years", coordinate=True),
    _text("manifest", "label", "standard of truth: negative, positive or empty"),
    _text(TRAIN, "split", "train, validation, test or empty"),
    _text(STAGES, "status", "done, failed, excluded or pending"),
    _text(STAGES, "error_code", "stable code of why a study failed or was excluded"),
    _text(STAGES, "error_stage", "stage in which it failed"),
    _text(STAGES, "error_reason", "what was found, without identity"),
    _text("manifest", "reads", "single reads: reader 1 first to third, reader 2 first to third, joint", "read"),
    _value(RECONSTRUCT, "counts", "sum of all projections", "counts"),
    _value(RECONSTRUCT, "views", "projections read, 0 of a tomogram", dtype="int32"),
    _value(RECONSTRUCT, "pixel_size_mm", "size of a projection bin", "mm"),
    _value(
        RECONSTRUCT,
        "counts_by_angle",
        "mean counts of a view by the detector's angle",
        "counts",
        "angle",
        dtype="float32",
    ),
    _value(
        RECONSTRUCT,
        "count_jump",
        "largest step of the counts between neighbouring views, as a fraction; 0 where noise explains all",
        "1",
    ),
    _value(RECONSTRUCT, "missing_views", "views that the regular sampling lacks", dtype="int32"),
    _value(RECONSTRUCT, "repeated_views", "views that are there twice", dtype="int32"),
    _value(RECONSTRUCT, "motion_mm", "largest distance between two positions of the head during the acquisition", "mm"),
    _value(RECONSTRUCT, "motion_axial_mm", "motion along the axis of rotation", "mm"),
    _value(RECONSTRUCT, "motion_transaxial_mm", "motion across the axis of rotation", "mm"),
    _value(
        RECONSTRUCT,
        "centre_of_rotation_mm",
        "where the axis of rotation projects to, from the middle of the matrix",
        "mm",
    ),
    _value(RECONSTRUCT, "radius_mm", "mean radius of rotation", "mm"),
    _value(RECONSTRUCT, "seconds_per_view", "duration of a view", "s"),
    _value(RECONSTRUCT, "injected_activity_mbq", "injected activity", "MBq"),
    _value(RECONSTRUCT, "injection_delay_min", "from injection to acquisition", "min"),
    _text(RECONSTRUCT, "flags", "codes of what was unusual, separated by spaces"),
    _value(REGISTER, "template_to_study", "affine, MNI mm to study mm, RAS", "", "to", "from"),
    _value(REGISTER, "quality_correlation", "correlation with the template"),
    _value(REGISTER, "quality_coarse_correlation", "correlation with the template, both smoothed strongly"),
    _value(REGISTER, "quality_outline_dice", "overlap of outlines with the template"),
    _value(REGISTER, "quality_coverage", "share of the brain inside the field of view"),
    _value(REGISTER, "quality_drift_mm", "how far a fit on strongly smoothed images moves the head", "mm"),
    _value(REGISTER, "quality_size", "length of the head over the template's"),
    _value(REGISTER, "quality_shear", "logarithmic stretch besides size"),
    _value(REGISTER, "quality_failure_probability", "probability of failure, from the other scores"),
    _value(QUANTIFY, "reference_value", "what intensities were divided by"),
    _value(QUANTIFY, "mirrored", "whether left and right were exchanged", dtype="bool"),
    _text(
        QUANTIFY,
        "lower_side",
        "patient's side of lower putamen binding: left, right, or uncertain where counting noise may be the difference",
    ),
    _value(
        QUANTIFY,
        "specific_binding_ratio",
        "hottest voxels (striatal regions) or mean (others), less reference, over reference",
        "",
        "region",
    ),
    _value(
        QUANTIFY,
        "binding_ratio",
        "specific binding ratio by every definition and background",
        "",
        "definition",
        "background",
        "striatal",
    ),
    _value(
        QUANTIFY,
        "asymmetry_index",
        "contralateral less ipsilateral binding ratio over their mean, background reference",
        "%",
        "definition",
        "structure",
    ),
    _value(
        QUANTIFY,
        "putamen_to_caudate_ratio",
        "binding ratio of the putamen over that of the caudate, background reference",
        "",
        "definition",
        "side",
    ),
    _text(QUANTIFY, "quantification_flags", "codes of what was unusual about the binding ratios, separated by spaces"),
)
"""Variables of the root with one row per study."""
IMAGING_COLUMNS = tuple(variable.name for variable in STUDY_TABLE if variable.is_folded)
"""Those of them that the imaging stages fill."""

READS = (*(f"{reader}_{read}" for reader in ("reader1", "reader2") for read in ("first", "second", "third")), "joint")
"""Names along `read`: negative, positive, atypical (joint only) or empty."""

UPTAKE = _value(
    QUANTIFY,
    "uptake",
    "reconstructed, normalised to MNI, scaled to the reference region, mirrored (ipsilateral left)",
    "1",
    *("x", "y", "z"),
    dtype="float32",
)
ATLAS = Variable("labels", ("x", "y", "z"), "uint8", "regions of the atlas, 0 outside the brain", writer=RUN)
TEMPLATE = Variable("template", ("x", "y", "z"), "float32", "image that the studies were normalised to", writer=RUN)

RELEVANCE_MAP = _value(EXPLAIN, "map", "layer-wise relevance of each voxel", "1", "x", "y", "z", dtype="float32")
RELEVANCE_TABLE = (
    _value(EXPLAIN, "regional", "statistics of relevance by region", "", "region", "statistic"),
    _value(EXPLAIN, "probability", "probability of the positive class", "1"),
    _value(EXPLAIN, "log_odds", "logit of positive less logit of negative", "1"),
    _text(EXPLAIN, "predicted", "negative or positive"),
    _text(TRAIN, "split", "train, validation, test or empty, when the model was trained"),
    _value(EXPLAIN, "inconsistent", "map typical of the class that was not predicted", dtype="bool"),
)
"""Tables of one model's group, `relevance/<model>`.

The regional table is not called `region`: a variable of that name would hide the labels of the inherited dimension.
"""


RELEVANCE = "relevance"
"""Name of the group that holds a group for each model."""


def relevance_group(model: str) -> str:
    """Name the group that holds what a model says."""
    return f"{RELEVANCE}/{model}"


NORMAL_RANGE = "normal_range"
"""Name of the group that says what is normal; no variable of the root may be called like it."""

MEASURES = (
    *(f"{definition} {striatal}" for definition in DEFINITIONS for striatal in STRIATAL),
    *(f"asymmetry {definition} {structure}" for definition in DEFINITIONS for structure in STRUCTURES),
    *(f"putamen_to_caudate {definition} {side}" for definition in DEFINITIONS for side in SIDES),
)
"""Names along `measure`: binding ratios (background: reference), then asymmetry indices, then ratios of structures."""

MAIN_MEASURE = f"{HOTTEST_VOXELS} {PUTAMEN}"
"""The measure that messages, reports and pages show first: the paper's."""

NORMAL_RANGE_TABLE = (
    _value(NORMS, "z_score", "value less expected, over prediction sd", "", "measure"),
    _value(NORMS, "expected", "normal value at the study's age, sex, site", "", "measure"),
    _value(NORMS, "lower", "lower end of the 95 % prediction interval", "", "measure"),
    _value(NORMS, "upper", "upper end of the 95 % prediction interval", "", "measure"),
    _value(NORMS, "harmonised", "value without the effect of its site", "", "measure"),
    _value(NORMS, "recovered", "value over the camera's phantom recovery", "", "measure"),
    _value(NORMS, "recovered_sd", "sd of it that the recovery's sd makes", "", "measure"),
    _text(NORMS, "split", "train, validation, test or empty, when the normal range was fitted"),
    _text(NORMS, "warnings", "codes of what limits the comparison, separated by spaces"),
)
"""Tables of the group `normal_range`."""
