"""A stage's digest follows what its results depend on, no more and no less."""

import pytest

from datbatch.config import Config, QualityConfig, ReconstructConfig
from datbatch.study.imaging import imaging_identities


def _digests(**reconstruct) -> dict[str, str]:
    config = Config(reconstruct=ReconstructConfig(**reconstruct))
    return {name: identity.digest for name, identity in imaging_identities(config).items()}


@pytest.mark.parametrize("changed", [{"cutoff_per_cm": 1.0}, {"attenuation": "chang"}, {"device": "cuda"}], ids=str)
def test_what_changes_the_reconstruction_changes_every_imaging_stage(changed):
    assert not set(_digests().values()) & set(_digests(**changed).values())


def test_the_attenuation_coefficient_counts_only_where_attenuation_is_corrected():
    assert _digests(attenuation_per_cm=0.12) == _digests()
    assert _digests(attenuation="chang", attenuation_per_cm=0.12) != _digests(attenuation="chang")


def test_limits_of_flags_change_no_stage_but_those_whose_figures_are_not_kept():
    usual = _digests()

    def digests(**limits) -> dict[str, str]:
        return {name: one.digest for name, one in imaging_identities(Config(quality=QualityConfig(**limits))).items()}

    assert digests(motion_limit_mm=3.0, minimum_counts=1.0, maximum_activity_mbq=1.0) == usual
    assert not set(digests(edge_limit=0.3).values()) & set(usual.values())
