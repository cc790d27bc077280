"""Parameters: one file, checked; equal parameters have equal digests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch.config import Config, TrainConfig, canonical_json, digest
from datbatch.errors import ConfigurationError


def test_what_a_file_leaves_out_keeps_its_default(tmp_path: Path) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text("[reconstruct]\ncutoff_per_cm = 1\n")
    config = Config.from_toml(path)
    assert config.reconstruct.cutoff_per_cm == 1.0
    assert config.reconstruct.filter == "shepp-logan"
    assert config.train == Config().train


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[reconstruction]\n", "reconstruction"),
        ("[reconstruct]\ncutof_per_cm = 1\n", "reconstruct.cutof_per_cm"),
        ("[reconstruct]\nfilter = 'butterworth'\n", "shepp-logan"),
        ("[reconstruct]\ncutoff_per_cm = 'high'\n", "reconstruct.cutoff_per_cm"),
        ("[train]\nepochs = 1.5\n", "train.epochs"),
        ("[train]\nepochs = -1\n", "train.epochs"),
        ("[train]\nepochs = true\n", "train.epochs"),
        ("[quantify]\natlas_labels = {putamen_left = 3}\n", "quantify.atlas_labels"),
        ("[quantify.atlas_labels]\nputamen_left = [true]\n", "quantify.atlas_labels"),
        ("[register]\ntemplate = 3\n", "register.template"),
        ("train = 3\n", "train"),
        ("[train\n", "parameter file"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=named):
        Config.from_toml(path)


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text(
        "[register]\ntemplate = 'own/template.nii.gz'\n"
        "[quantify]\natlas = '/atlases/own.nii.gz'\n[quantify.atlas_labels]\nputamen_left = [11, 12]\n"
    )
    config = Config.from_toml(path)
    assert config.register.template == str(tmp_path / "own" / "template.nii.gz")
    assert config.quantify.atlas == "/atlases/own.nii.gz"
    assert config.quantify.atlas_labels == {"putamen_left": [11, 12]}
    assert Config.from_dict(config.to_dict()) == config


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Config.from_toml(tmp_path / "none.toml")


def test_parameters_survive_the_way_through_json() -> None:
    assert Config.from_dict(Config().to_dict()) == Config()


@given(
    st.dictionaries(
        st.text(max_size=5), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), max_size=6
    )
)
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(turned)
    assert digest(value) == digest(turned)


def test_switches_are_switches_and_numbers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text("[norms]\nuse_age = false\n")
    assert Config.from_toml(path).norms.use_age is False
    path.write_text("[norms]\nuse_age = 1\n")
    with pytest.raises(ConfigurationError, match=r"norms\.use_age"):
        Config.from_toml(path)


def test_what_is_stored_of_the_parameters_holds_no_path() -> None:
    config = Config.from_dict({"norms": {"recovery": "/home/Mr Smith/factors.csv"}})
    assert "Smith" not in canonical_json(config.to_stored_dict())
    assert Config.from_dict(config.to_stored_dict()) == Config()
    assert Config.from_dict(config.to_dict()) == config


def test_only_what_the_weights_depend_on_identifies_a_training():
    plain = TrainConfig()
    assert TrainConfig(processes=4, checkpoint_minutes=1.0).identity() == plain.identity()
    assert "augment_noise" not in plain.identity()
    assert TrainConfig(augment_noise=0.1).identity() == plain.identity() | {"augment_noise": 0.1}
    assert TrainConfig().identity() == {}
