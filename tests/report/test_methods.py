"""The methods text says what was done."""

from __future__ import annotations

from datbatch.config import Config, ReconstructConfig
from datbatch.report.methods import imaging_text


def test_the_text_says_whether_attenuation_was_corrected():
    assert "without correction for attenuation or scatter" in " ".join(imaging_text(Config()))
    corrected = Config(reconstruct=ReconstructConfig(attenuation="chang", attenuation_per_cm=0.12))
    text = " ".join(imaging_text(corrected))
    assert "Chang" in text
    assert "0.12/cm" in text
    assert "without correction for attenuation" not in text
