"""The methods section of a paper, with the parameters that the run really had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datbatch.cohort import schema
from datbatch.config import Config, TrainConfig
from datbatch.errors import ConfigurationError

REFERENCES = (
    "Nazari M, Kluge A, Apostolova I, et al. Explainable AI to improve acceptance of convolutional neural "
    "networks for automatic classification of dopamine transporter SPECT in the diagnosis of clinically "
    "uncertain parkinsonian syndromes. Eur J Nucl Med Mol Imaging 2022;49:1176-1186. "
    "doi:10.1007/s00259-021-05569-9",
    "Bach S, Binder A, Montavon G, et al. On pixel-wise explanations for non-linear classifier decisions "
    "by layer-wise relevance propagation. PLoS One 2015;10:e0130140. doi:10.1371/journal.pone.0130140",
    "Wilson EB. Probable inference, the law of succession, and statistical inference. J Am Stat Assoc "
    "1927;22:209-212. doi:10.1080/01621459.1927.10502953",
    "DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated receiver "
    "operating characteristic curves: a nonparametric approach. Biometrics 1988;44:837-845. "
    "doi:10.2307/2531595",
    "Kingma DP, Ba J. Adam: a method for stochastic optimization. 2014. arXiv:1412.6980",
)
"""Cited in the text by their place, from 1."""

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
        return Config.from_dict(dict(recorded))
    except (ConfigurationError, TypeError):
        return None


def imaging_text(config: Config) -> tuple[str, ...]:
    """Describe inclusion, reconstruction, normalisation and quantification."""
    quantify, register = config.quantify, config.register
    percentile = f"{quantify.reference_percentile:g}th percentile"
    selection = (
        "Studies were included when they had been performed for a clinically uncertain parkinsonian "
        "syndrome, on a double-head system with parallel-hole collimators, and when raw projections were "
        "available [1]."
        if config.archive.inclusion == "paper"
        else "All studies whose raw projections were available were included."
    )
    template = "a template of the centre's own" if register.template else "an FP-CIT template"
    atlas = " Regions were those of an atlas of the centre's own." if quantify.atlas else ""
    scale = " and ".join(str(round(size)) for size in (register.coarse_sampling_mm, register.fine_sampling_mm))
    return (
        f"{selection} Projections of the energy window that covers {config.archive.photopeak_kev:g} keV "
        "were read directly from DICOM; the geometry was derived from the header of each file, and studies "
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
        f"at x < 0 in every study [1].{atlas}",
    )


def _attenuation(config: Config) -> str:
    if config.reconstruct.attenuation == "none":
        return "without correction for attenuation or scatter"
    return (
        "with first-order Chang correction for uniform attenuation within an automatically found outline of the head "
        f"({config.reconstruct.attenuation_per_cm:g}/cm) and without correction for scatter"
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
        f"The sign of relevance was oriented on the validation set (factor {orientation['sign']:+g}), so "
        "that relevance in the ipsilateral putamen is higher in positive studies."
        if "sign" in orientation
        else "The sign of relevance was not oriented, since the model's card has no orientation."
    )
    weights = "without" if train.class_weights == "none" else "with balanced"
    test_share = 1 - split.train_fraction - split.validation_fraction
    return (
        f"The network [1] ({preset} preset, {grid}{size}) has four 3 x 3 x 3 convolutions of 16 filters "
        "without padding or pooling between them, fully connected layers of 32 and 16 neurons and two "
        f"outputs; rectified linear units; dropout of {train.dropout:g} in the first fully connected layer. "
        f"Labelled studies were divided into training, validation and test set ({split.train_fraction:.1%}, "
        f"{split.validation_fraction:.1%}, {test_share:.1%}) within the four groups of sex and label; of "
        f"{split.draws} random splits, the one with the least difference of mean age was kept. It was "
        f"trained for {epochs} epochs on cross-entropy {weights} class weights{_training_options(train)} by Adam [5] "
        f"(learning rate {train.learning_rate:g}, batch {train.batch_size}, seed {train.seed}). The validation set "
        "watched for overfitting; the test set had no part in training, orientation or cuts.",
        f"Relevance was propagated [1, 2] from {_TARGETS[explain.target]}: LRP-epsilon (epsilon = 0.0001) "
        "in the fully connected layers, LRP-alpha-beta (alpha = 2, in its relevance-conserving form) in "
        "convolutions 4 and 3, LRP-flat in convolutions 2 and 1. Relevance of the ipsilateral putamen is "
        f"the mean of the hottest {explain.hottest_ml:g} ml of its region. {meaning}",
        "Confidence intervals (95 %) of proportions are Wilson's [3], of areas under the ROC curve DeLong's [4].",
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
