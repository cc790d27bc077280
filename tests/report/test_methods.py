"""The methods text says what was done."""

import pytest

from datbatch.config import Config, ExplainConfig, ReconstructConfig, SplitConfig, TrainConfig
from datbatch.report.cohort.methods import classifier_text, imaging_text
from datbatch.report.parts.references import REFERENCES, bibtex, cited, numbered


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


def test_the_text_names_the_split_and_the_rules_that_were_used():
    by_site = Config(
        split=SplitConfig(by="site", held_out=["B", "C"]), explain=ExplainConfig(rules=["flat", "gamma(0.25)"])
    )
    text = " ".join(classifier_text(by_site, {}))
    assert "all studies of the sites held out (B, C)" in text
    assert "random splits" not in text
    assert "flat; gamma(0.25)" in text
    assert "LRP-alpha-beta" not in text
    cosine = classifier_text(Config(train=TrainConfig(schedule="cosine")), {})[0]
    assert "falling to zero along a cosine" in cosine


def test_every_work_is_cited_by_a_key_that_is_known_and_numbered_by_its_first_mention():
    text = ("As before [@nazari2022; @bach2015].", "By Adam [@kingma2014], see [@bach2015].")
    keys = cited(text)
    assert keys == ("nazari2022", "bach2015", "kingma2014")
    assert [numbered(one, keys) for one in text] == ["As before [1, 2].", "By Adam [3], see [2]."]
    with pytest.raises(KeyError):
        cited(["By nobody [@nobody2000]."])


def test_works_are_written_as_journals_and_bibtex_do():
    assert REFERENCES["nazari2022"].text().startswith("Nazari M, Kluge A, Apostolova I, et al. Explainable AI")
    assert REFERENCES["nazari2022"].text().endswith("2022;49:1176-1186. doi:10.1007/s00259-021-05569-9")
    entries = bibtex(REFERENCES)
    assert entries.count("\n@") + 1 == len(REFERENCES)
    assert entries.count("{") == entries.count("}")
    assert "pages = {1176--1186}" in entries
    assert "eprint = {1412.6980}" in entries
