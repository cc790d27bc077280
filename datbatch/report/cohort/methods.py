"""The methods section of a paper, with the parameters that the run really had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datbatch import schema
from datbatch.config import Config, SplitConfig, TrainConfig
from datbatch.errors import ConfigurationError
from datbatch.relevance.orientation import LEAST_OF_A_CLASS

_FILTERS = {
    "ram-lak": "a ramp (Ram-Lak) filter",
    "shepp-logan": "a Shepp-Logan filter",
    "cosine": "a cosine filter",
    "hamming": "a Hamming filter",
    "hann": "a Hann filter",
    "none": "no filter",
}
_TARGETS = {
    "predicted": "the more activated output neuron",
    "positive": "the output neuron of the positive class",
    "negative": "the output neuron of the negative class",
    "log_odds": "the log odds of the decision (the positive output neuron less the negative one)",
}


def run_config(recorded: Mapping[str, Any]) -> Config | None:
    """Read the recorded parameters; None when there are none or another version wrote them."""
    if not recorded:
        return None
    try:
        return Config.from_dict(recorded, recorded=True)
    except (ConfigurationError, TypeError):
        return None


def imaging_text(config: Config) -> tuple[str, ...]:
    """Describe inclusion, reconstruction, normalisation and quantification."""
    quantify, register = config.quantify, config.register
    percentile = f"{quantify.reference_percentile:g}th percentile"
    selection = (
        "Studies were included when they had been performed for a clinically uncertain parkinsonian "
        "syndrome, on a double-head system with parallel-hole collimators, and when raw projections were "
        "available [@nazari2022]."
        if config.archive.inclusion == "paper"
        else "All studies whose raw projections were available were included."
    )
    template = "a template of the centre's own" if register.template else "an FP-CIT template"
    atlas = " Regions were those of an atlas of the centre's own." if quantify.atlas else ""
    scale = " and ".join(str(round(size)) for size in (register.coarse_sampling_mm, register.fine_sampling_mm))
    return (
        f"{selection} Projections of the energy window that covers {config.archive.photopeak_kev:g} keV "
        "were read directly from DICOM; projections were checked for motion, centre of rotation, counts, field of "
        "view, activity and delay [@morbelli2020]; the geometry was derived from the header of each file, and studies "
        "whose header contradicted itself were refused.",
        "All studies were reconstructed in one automatic batch by filtered back-projection with "
        f"{_FILTERS[config.reconstruct.filter]} and a cutoff of {config.reconstruct.cutoff_per_cm:g} "
        f"cycles/cm, {_attenuation(config)}. Images were transformed (affine, 12 "
        f"parameters) into MNI space by least squares against {template} (smoothing "
        f"{register.smoothing_fwhm_mm:g} mm, sampling {scale} mm) and resampled to "
        f"{' x '.join(map(str, schema.SHAPE))} voxels of {schema.SPACING_MM:g} mm. Normalisation counted as "
        "failed above a probability of failure (logistic model of correlation, stability and shear) "
        f"of {register.maximum_failure_probability:g}.",
        f"Intensities were divided by the {percentile} of the reference region (whole brain without "
        "striata, thalamus, brain stem and ventricles). The specific binding ratio was (mean of the "
        "hottest voxels - reference level) / reference level, the latter being the same percentile, over "
        f"the hottest {quantify.putamen_hottest_ml:g} ml of a large unilateral region around the putamen "
        f"and {quantify.caudate_hottest_ml:g} ml around the caudate nucleus. Images in which the putaminal "
        "ratio, in proportion to that of the template on the same side, was lower on the right were mirrored, so "
        "that the side of lower binding (ipsilateral) lies "
        f"at x < 0 in every study [@nazari2022].{atlas} Beside these ratios, means over fixed regions and the "
        "resolution-independent ratio of a large volume [@tossicibolt2006] were computed.",
    )


def imported_text(studies: int) -> str:
    """Say what is different for studies that were reconstructed elsewhere."""
    return (
        f"Of {studies} studies no projections were left. Their images, as reconstructed elsewhere with unknown "
        "parameters, were read from DICOM or NIfTI, where the header said without contradiction how they lie in the "
        "patient, and normalised and quantified like all others. Their binding is not comparable with that of studies "
        "reconstructed here."
    )


def _attenuation(config: Config) -> str:
    if config.reconstruct.attenuation == "none":
        return "without correction for attenuation or scatter"
    return (
        "with first-order Chang correction [@chang1978] for uniform attenuation within an automatically found outline "
        f"of the head ({config.reconstruct.attenuation_per_cm:g}/cm) and without correction for scatter"
    )


def classifier_text(config: Config, card: Mapping[str, Any]) -> tuple[str, ...]:
    """Describe network, split, training and relevance propagation."""
    split, train, explain = config.split, config.train, config.explain
    preset = str(card.get("preset", train.preset))
    grid = "on the 2 mm grid" if preset == "paper" else "on means of 2 x 2 x 2 voxels (4 mm)"
    parameters = card.get("parameters")
    size = f", {parameters:,} trainable parameters" if isinstance(parameters, int) and parameters else ""
    epochs = len(card.get("history") or ()) or train.epochs
    orientation = card.get("orientation") or {}
    meaning = (
        f"The sign of relevance was oriented (factor {orientation['sign']:+g}) on the validation studies, joined by "
        f"the training studies where there were fewer than {LEAST_OF_A_CLASS} of a class, so that relevance in the "
        "ipsilateral putamen is higher in positive studies."
        if "sign" in orientation
        else "The sign of relevance was not oriented, since the model's card has no orientation."
    )
    weights = "without" if train.class_weights == "none" else "with balanced"
    schedule = ", falling to zero along a cosine" if train.schedule == "cosine" else ""
    return (
        f"The network [@nazari2022] ({preset} preset, {grid}{size}) has four 3 x 3 x 3 convolutions of 16 filters "
        "without padding or pooling between them, fully connected layers of 32 and 16 neurons and two "
        f"outputs; rectified linear units; dropout of {train.dropout:g} in the first fully connected layer. "
        f"{_split(split)} It was "
        f"trained for {epochs} epochs on cross-entropy {weights} class weights{_training_options(train)} by Adam "
        f"[@kingma2014] (learning rate {train.learning_rate:g}{schedule}, batch {train.batch_size}, seed "
        f"{train.seed}). The validation set "
        "watched for overfitting; the test set had no part in training, orientation or cuts.",
        f"Relevance was propagated [@nazari2022; @bach2015] from {_TARGETS[explain.target]}: {_rules(explain.rules)}. "
        f"Relevance of the ipsilateral putamen is the mean of the hottest {explain.hottest_ml:g} ml of its region. "
        f"{meaning}",
    )


def _split(split: SplitConfig) -> str:
    persons = " Studies of one person stayed in one set." if split.keep_persons else ""
    if split.by == "site":
        sites = ", ".join(split.held_out)
        return f"The test set was all studies of the sites held out ({sites}).{persons}"
    if split.by == "folds":
        return f"The test set was fold {split.fold} of {split.folds}, within the four groups of sex and label.{persons}"
    test_share = 1 - split.train_fraction - split.validation_fraction
    return (
        f"Labelled studies were divided into training, validation and test set ({split.train_fraction:.1%}, "
        f"{split.validation_fraction:.1%}, {test_share:.1%}) within the four groups of sex and label; of {split.draws} "
        f"random splits (seed {split.seed}), the one with the least difference of mean age was kept.{persons}"
    )


def _rules(rules: str | Sequence[str]) -> str:
    """Name the rules of relevance propagation."""
    named = (
        "LRP-epsilon (epsilon = 0.0001) in the fully connected layers, LRP-alpha-beta (alpha = 2, in its "
        "relevance-conserving form) in convolutions 4 and 3, LRP-flat in convolutions 2 and 1"
    )
    if rules == "paper":
        return named
    if rules == "paper_without_bias":
        return named + ", biases left out of the denominators"
    return "by the rules, from the first to the last layer with weights, " + "; ".join(rules)


def evaluation_text(evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    """Describe the statistics; of what `datbatch evaluate` did only what it did."""
    text = (
        "Confidence intervals (95 %) of proportions are Wilson's [@wilson1927], of areas under the ROC curve DeLong's "
        "[@delong1988]. The flow of studies follows STARD [@bossuyt2015]."
    )
    if not evaluation:
        return (text,)
    names = ", ".join(dict.fromkeys(row["name"] for row in evaluation["comparators"]))
    if names:
        text += (
            f" The network was compared on the same test studies with: {names}; cuts and trees [@breiman1984] were "
            "learned on the training set, the cut of relevance on the validation set, and differences were tested by "
            "McNemar's test (mid-p) [@mcnemar1947] and between areas by DeLong's."
        )
    if evaluation["temperature"] is not None:
        text += (
            f" Probabilities were calibrated by a temperature [@guo2017] of {evaluation['temperature']:.2f}, learned "
            f"on {evaluation['validation_studies']} validation studies."
        )
    return (text,)


def norms_text(config: Config, normals: int) -> str:
    """Describe the normal range."""
    uses = [name for name, used in (("age", config.norms.use_age), ("sex", config.norms.use_sex)) if used]
    site = ", with a random deviation of each site" if config.norms.use_site else ""
    covariates = " and ".join(uses) or "no covariate"
    return (
        f"The normal range of each measure was fitted to the {normals} negative studies of the training set (linear in "
        f"{covariates}{site}); a z-score is the value less the expected one over the standard deviation of a new study."
    )


def trust_text(parameters: Mapping[str, Any], studies: int) -> str:
    """Describe how relevance maps were tried."""
    return (
        f"Relevance maps of {studies} test studies were tried by cascading randomisation of the layers [@adebayo2018; "
        f"@sixt2020], by flipping regions of {parameters['block_mm']:g} mm in {parameters['flipping_steps']} steps "
        "[@samek2017], by the share of relevance within the striatum (mass and rank) [@arras2022], and by added noise "
        f"(standard deviation {100 * parameters['noise_share']:g} % of the reference level)."
    )


def _training_options(train: TrainConfig) -> str:
    """Name the options of training that the paper did not use."""
    options = []
    if train.soft_labels == "reads":
        options.append("on the share of positive reads instead of the label")
    if train.augment_blur_fwhm_mm > 0 or train.augment_noise > 0:
        options.append(
            f"on volumes with random blur (to {train.augment_blur_fwhm_mm:g} mm FWHM) and noise (to "
            f"{train.augment_noise:.0%} of the reference level)"
        )
    if train.precision != "float32":
        options.append(f"with products in {train.precision}")
    return "".join(f", {option}," for option in options).replace(",,", ",")
