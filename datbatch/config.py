"""The parameters of every stage: read from TOML, written as canonical JSON, identified by a digest.

The type of a number states its range; the reader of files, the pages and the JSON schema all use it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from msgspec import Meta

from datbatch.errors import ConfigurationError
from datbatch.ranges import (
    Activity,
    Count,
    Delay,
    Fraction,
    Length,
    Millilitres,
    Sampling,
    Seed,
    Share,
    Width,
    find_known,
    read_section,
)


@dataclass(frozen=True)
class ArchiveConfig:
    """What is read from an archive and which studies belong to the cohort."""

    photopeak_kev: Annotated[float, Meta(ge=20, le=600)] = 159.0
    """Energy that the chosen window must cover (I-123)."""
    unlabelled: Literal["refuse", "keep"] = "refuse"
    """Whether a study without label and reads is refused or kept for inference, where other studies are labelled."""
    inclusion: Literal["paper", "all"] = "paper"
    """`paper`: indication, double-head system with parallel holes, raw projections; `all`: raw projections only."""


@dataclass(frozen=True)
class ReconstructConfig:
    """Filtered back-projection (Nazari et al. 2022, "DAT-SPECT data")."""

    filter: Literal["ram-lak", "shepp-logan", "cosine", "hamming", "hann", "none"] = "shepp-logan"
    """Window that is multiplied with the ramp."""
    cutoff_per_cm: Annotated[float, Meta(gt=0, le=100)] = 1.25
    """Frequency above which the filter is zero, in cycles/cm, for every pixel size."""
    attenuation: Literal["none", "chang"] = "none"
    """`none` (the paper), or `chang`: first-order correction for uniform attenuation inside the outline of the head."""
    attenuation_per_cm: Share = 0.11
    """Effective (broad-beam) attenuation coefficient of `chang`; scatter is not corrected."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it is computed; the two agree to 1e-5 of the maximum, but not bit by bit."""


@dataclass(frozen=True)
class QualityConfig:
    """Limits beyond which a study's projections are flagged.

    Activity and delay follow the guideline of EANM and SNMMI (Morbelli et al. Eur J Nucl Med Mol Imaging
    2020;47:1885-1912) for [123I]FP-CIT: 111 to 185 MBq, imaging 3 to 6 h after injection; usual practice may differ a
    little more.
    """

    motion_limit_mm: Length = 2.0
    """Distance between two positions of the head during the acquisition."""
    centre_of_rotation_limit_mm: Length = 1.0
    """Offset of the axis of rotation from the middle of the matrix."""
    count_jump_limit: Annotated[float, Meta(ge=0, le=100)] = 0.10
    """Step of the counts between neighbouring views, as a fraction."""
    edge_limit: Share = 0.25
    """Share of the counts of a row through the head: with more in the first or last rows the head counts as cut."""
    head_length_mm: Length = 150.0
    """Length from the vertex to the cerebellum: the field of view must not end before it."""
    side_limit: Share = 0.10
    """Share of the counts of the fullest bin: with more at the side of the matrix the head counts as cut."""
    minimum_counts: Annotated[float, Meta(ge=0, le=10**12)] = 1.0e6
    """Sum of all projections."""
    minimum_delay_min: Delay = 165.0
    """Shortest usual delay from injection to acquisition."""
    maximum_delay_min: Delay = 375.0
    """Longest usual delay from injection to acquisition."""
    minimum_activity_mbq: Activity = 100.0
    """Least usual injected activity."""
    maximum_activity_mbq: Activity = 250.0
    """Most usual injected activity."""


@dataclass(frozen=True)
class RegisterConfig:
    """Affine normalisation to the template in MNI space."""

    template: str = ""
    """NIfTI file in MNI mm to which studies are normalised; empty: the one of the package."""
    smoothing_fwhm_mm: Width = 8.0
    """Gaussian blur of the study before the comparison with the template."""
    coarse_sampling_mm: Sampling = 8.0
    """Distance of the sample points at the first level."""
    fine_sampling_mm: Sampling = 4.0
    """Distance of the sample points at the second level."""
    maximum_failure_probability: Share = 0.7
    """Probability of failure, from the quality scores, above which the normalisation counts as failed."""


@dataclass(frozen=True)
class QuantifyConfig:
    """Resampling, intensity scaling, binding ratios and mirroring."""

    atlas: str = ""
    """NIfTI file of labels on the store's grid or the full MNI grid of 2 mm; empty: the analytic atlas."""
    atlas_labels: dict[str, list[Count]] = field(default_factory=dict)
    """Labels by structure, such as `putamen_left = [12]`; empty: from the table (.tsv or .json) beside the atlas."""
    reference_percentile: Annotated[float, Meta(gt=0, le=100)] = 75.0
    """Intensities are divided by this percentile of the reference region."""
    putamen_hottest_ml: Millilitres = 10.0
    """Volume of the hottest voxels that represent a putamen."""
    caudate_hottest_ml: Millilitres = 5.0
    """Volume of the hottest voxels that represent a caudate nucleus."""
    striatum_ml: Millilitres = 11.2
    """Anatomical volume of one striatum; the counts of the large volume are divided by it."""


@dataclass(frozen=True)
class SplitConfig:
    """The division into training, validation and test set (Nazari et al. 2022)."""

    by: Literal["strata", "site", "folds"] = "strata"
    """`strata` (the paper): within sex x label; `site`: the test set is whole sites; `folds`: it is one fold."""
    held_out: list[str] = field(default_factory=list)
    """With `site`: sites of the test set."""
    folds: Annotated[int, Meta(ge=2)] = 5
    """With `folds`: number of folds."""
    fold: Count = 1
    """With `folds`: number of the fold that is the test set, from 1."""
    keep_persons: bool = True
    """Whether studies of one PatientID stay in one set; switch it off where PatientIDs are placeholders."""
    train_fraction: Fraction = 2 / 3
    """Share of the labelled studies for training."""
    validation_fraction: Fraction = 1 / 9
    """Share to detect overfitting and to learn the orientation of relevance."""
    draws: Count = 100
    """Number of random splits; the one with the smallest difference of mean age is used."""
    seed: Seed = 2022
    """Seed of the draws."""


WITHOUT_TRACE = frozenset({"checkpoint_minutes", "processes"})
"""Parameters of training that do not change the weights."""


@dataclass(frozen=True)
class TrainConfig:
    """The network and its training (Nazari et al. 2022)."""

    preset: Literal["paper", "compact"] = "paper"
    """`paper`: the network on the 2 mm grid; `compact`: the same network on 2 x 2 x 2 voxel means (4 mm)."""
    epochs: Count = 84
    """Passes over the training set (the paper's 1.5 h at 64 s each)."""
    batch_size: Count = 8
    """Studies of one optimisation step."""
    micro_batch: Count = 2
    """Studies that pass the convolutions together; a process computes one or more such groups of each step."""
    processes: Count = 1
    """Workers that train together; on CPUs the weights are bit by bit the same for any number of them."""
    checkpoint_minutes: Annotated[float, Meta(ge=0, le=10**6)] = 5.0
    """Time between two checkpoints."""
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 1e-4
    """Step size of Adam."""
    schedule: Literal["constant", "cosine"] = "constant"
    """`constant` (the paper), or `cosine`: the step size falls to zero over the whole training."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Type in which products are computed; weights and sums are float32. `tf32` has an effect only on GPUs."""
    class_weights: Literal["none", "balanced"] = "none"
    """`none` (the paper), or `balanced`: a study's weight is inverse to the share of its class."""
    soft_labels: Literal["none", "reads"] = "none"
    """`none` (the paper), or `reads`: the label is the share of positive reads."""
    augment_blur_fwhm_mm: Width = 0.0
    """Greatest Gaussian blur of a training volume, random in each epoch; 0 (the paper) for none."""
    augment_noise: Share = 0.0
    """Greatest noise (SD at the reference level, as a share of it), random in each epoch; 0 (the paper) for none."""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    """Dropout probability in the first fully connected layer."""
    seed: Seed = 1
    """Seed of the initial weights, the order of studies and dropout."""

    def identity(self) -> dict[str, Any]:
        """Give the parameters that change the weights and are not the defaults.

        So a new parameter of a later version does not change the names of models that were trained without it.
        """
        usual = dataclasses.asdict(type(self)())
        given = weights_depend_on(dataclasses.asdict(self))
        return {name: value for name, value in given.items() if value != usual[name]}


def weights_depend_on(train: Mapping[str, Any]) -> dict[str, Any]:
    """Give the parameters of section `train` that change the weights; a missing one has its default."""
    given = {**dataclasses.asdict(TrainConfig()), **train}
    return {name: value for name, value in given.items() if name not in WITHOUT_TRACE}


@dataclass(frozen=True)
class ExplainConfig:
    """Inference and layer-wise relevance propagation (Nazari et al. 2022)."""

    target: Literal["predicted", "positive", "negative", "log_odds"] = "predicted"
    """Where relevance starts."""
    rules: str | list[str] = "paper"
    """Table of rules (`paper`, `paper_without_bias`), or one rule for each layer, such as `"alpha-beta(2)"`."""
    hottest_ml: Millilitres = 10.0
    """Volume of the hottest voxels; their mean relevance represents a putamen."""
    mantissa_bits: Annotated[int, Meta(ge=1, le=23)] = 12
    """Mantissa bits of a stored relevance value (23 = all); 12 bits halve the size, with an error of 9e-5 of the
    maximum."""


@dataclass(frozen=True)
class EvaluateConfig:
    """The evaluation of a model on its test set."""

    uncertain_share: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    """Share of the validation studies that are called uncertain; the margin follows from it."""


@dataclass(frozen=True)
class NormsConfig:
    """The normal range, corrected recovery and harmonisation."""

    use_age: bool = True
    """Whether the normal range depends on age."""
    use_sex: bool = True
    """Whether it depends on sex."""
    use_site: bool = True
    """Whether each site has its own deviation."""
    recovery: str = ""
    """Path of the table of phantom recovery factors (see `norms.read_recovery`); empty for none."""


@dataclass(frozen=True)
class TrustConfig:
    """Tests whether a model's relevance maps can be trusted."""

    studies: Count = 20
    """Greatest number of studies from the test set, half of each class."""
    seed: Seed = 1
    """Seed of the choice of studies, random orders, noise and random weights."""
    block_mm: Annotated[float, Meta(ge=2, le=200)] = 8.0
    """Edge of the cubes that region flipping replaces, about the resolution of the images."""
    flipping_steps: Count = 12
    """Points of a flipping curve after its start."""
    random_orders: Count = 2
    """Random orders of flipping for each study."""
    noise_share: Share = 0.1
    """Standard deviation of the extra noise where uptake is at the reference level, as a share of it."""
    noise_fwhm_mm: Width = 8.0
    """Correlation width of the extra noise, as after reconstruction."""
    noise_draws: Count = 3
    """Noisy copies of each study."""
    striatum_margin_mm: Width = 4.0
    """Margin of the enlarged striatum in which relevance is also counted."""


@dataclass(frozen=True)
class StoreConfig:
    """Layout of the cohort store; it cannot be changed later."""

    granule_studies: Annotated[int, Meta(ge=1, le=10_000)] = 32
    """Studies of one granule: one task, one shard, one ledger object."""


@dataclass(frozen=True)
class LimitsConfig:
    """Limits of one study while it is read and imaged, in its own process; 0 for no limit."""

    study_seconds: Annotated[float, Meta(ge=0, le=10**6)] = 600.0
    """Time; a study that takes longer fails."""
    study_gb: Annotated[float, Meta(ge=0, le=10**6)] = 8.0
    """Writable memory beyond the loaded libraries."""


NOT_ABOVE = (
    ("register", "fine_sampling_mm", "coarse_sampling_mm"),
    ("quality", "minimum_delay_min", "maximum_delay_min"),
    ("quality", "minimum_activity_mbq", "maximum_activity_mbq"),
    ("split", "fold", "folds"),
)
"""Sections with two keys; the value of the first must not be above that of the second."""

PATH_KEYS = (("norms", "recovery"),)
"""Parameters that are paths; the digest of the file is stored instead."""

KNOWN_BY = "sha256:"
"""Beginning of a parameter that names a file by the digest of its content."""


@dataclass(frozen=True)
class Config:
    """All parameters of a run."""

    archive: ArchiveConfig = field(default_factory=ArchiveConfig)
    reconstruct: ReconstructConfig = field(default_factory=ReconstructConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    register: RegisterConfig = field(default_factory=RegisterConfig)
    quantify: QuantifyConfig = field(default_factory=QuantifyConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    explain: ExplainConfig = field(default_factory=ExplainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    norms: NormsConfig = field(default_factory=NormsConfig)
    trust: TrustConfig = field(default_factory=TrustConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)

    @classmethod
    def from_toml(cls, path: Path) -> Config:
        """Read parameters; a missing key has its default, and relative paths start at the file's folder.

        Raises
        ------
        ConfigurationError
            When the file is no TOML, names an unknown section or key, or has a value that its key does not allow.
        """
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"the parameter file cannot be read: {error}") from error
        config = cls.from_dict(given)
        for section, key in (("register", "template"), ("quantify", "atlas"), *PATH_KEYS):
            old = getattr(config, section)
            if name := getattr(old, key):
                new = dataclasses.replace(old, **{key: str((path.parent / name).absolute())})
                config = dataclasses.replace(config, **{section: new})
        return config

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], *, recorded: bool = False) -> Config:
        """Build parameters from nested dictionaries of sections and keys.

        Those that a store or a model was made with (`recorded`) may be outside of today's ranges.
        """
        kinds = get_type_hints(cls)
        read = {name: read_section(find_known(name, kinds), name, given[name], ranges=not recorded) for name in given}
        config = cls(**read)
        if not recorded:
            _check_pairs(config)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Give the parameters as nested dictionaries."""
        return dataclasses.asdict(self)

    def to_stored_dict(self) -> dict[str, Any]:
        """Give the parameters for stores and models that may be passed on: without paths, which may hold names."""
        given = self.to_dict()
        for section, key in PATH_KEYS:
            del given[section][key]
        return given


def _check_pairs(config: Config) -> None:
    for section, lesser, greater in NOT_ABOVE:
        low, high = (getattr(getattr(config, section), key) for key in (lesser, greater))
        if low > high:
            raise ConfigurationError(f"{section}.{lesser} is {low!r}; it must be at most {section}.{greater}, {high!r}")
    used = config.split.train_fraction + config.split.validation_fraction
    if config.split.by == "strata" and used >= 1:
        reason = f"split.train_fraction + split.validation_fraction is {used:.12g}; it must be below 1"
        raise ConfigurationError(reason, "Leave a share of the studies for the test set.")


def canonical_json(value: Any) -> str:
    """Write JSON with sorted keys and without spaces: equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Give the first 16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
