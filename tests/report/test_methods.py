"""The methods text says what was done."""

from __future__ import annotations

from datbatch.config import Config, ReconstructConfig, TrainConfig
from datbatch.report.methods import classifier_text, imaging_text


def test_the_text_says_whether_attenuation_was_corrected():
    assert "without correction for attenuation or scatter" in " ".join(imaging_text(Config()))
    corrected = Config(reconstruct=ReconstructConfig(attenuation="chang", attenuation_per_cm=0.12))
    text = " ".join(imaging_text(corrected))
    assert "Chang" in text
    assert "0.12/cm" in text
    assert "without correction for attenuation" not in text


def test_options_of_training_that_the_paper_did_not_use_are_named():
    plain, _ = classifier_text(Config(), {})[:2]
    assert "cross-entropy without class weights by Adam" in plain
    options = TrainConfig(class_weights="balanced", soft_labels="reads", augment_noise=0.1, precision="bfloat16")
    said = classifier_text(Config(train=options), {})[0]
    assert "cross-entropy with balanced class weights, on the share of positive reads" in said
    assert "noise (to 10% of the reference level), with products in bfloat16, by Adam" in said
