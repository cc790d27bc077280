"""Parameters: one file, checked; equal parameters have equal digests."""

import math
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch.config import Config, TrainConfig, canonical_json, digest
from datbatch.errors import ConfigurationError


def test_what_a_file_leaves_out_keeps_its_default_and_a_missing_file_is_refused(tmp_path) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text("[reconstruct]\ncutoff_per_cm = 1\n[norms]\nuse_age = false\n")
    config = Config.from_toml(path)
    assert config.norms.use_age is False
    assert config.reconstruct.cutoff_per_cm == 1.0
    assert config.reconstruct.filter == "shepp-logan"
    assert config.train == Config().train
    with pytest.raises(ConfigurationError):
        Config.from_toml(tmp_path / "none.toml")


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
        ("[norms]\nuse_age = 1\n", r"norms\.use_age"),
        ("train = 3\n", "train"),
        ("[store]\n\n[train\n", "parameter file .* line 3"),
        ("[tran]\n", "unknown section tran; did you mean train?"),
        ("[train]\nepoch = 3\n", r"unknown key train\.epoch; did you mean train\.epochs?"),
        ("[train]\nepochs = 0\n", r"train\.epochs is 0; it must be a whole number, at least 1"),
        ("[train]\ndropout = 3\n", r"train\.dropout is 3; it must be a number, at least 0 and below 1"),
        ("[quantify]\nreference_percentile = 175\n", r"quantify\.reference_percentile is 175; .* at most 100"),
        ("[quantify.atlas_labels]\nputamen_left = [0]\n", r"a list of whole numbers, at least 1"),
        ("[split]\nfold = 6\n", r"split\.fold is 6; it must be at most split\.folds, 5"),
        ("[split]\ntrain_fraction = 0.95\n", r"split\.train_fraction \+ split\.validation_fraction is 1\.06"),
        ("[register]\nfine_sampling_mm = 9\n", r"at most register\.coarse_sampling_mm, 8\.0"),
        ("[quality]\nminimum_delay_min = 400\n", r"at most quality\.maximum_delay_min, 375\.0"),
        ("[quality]\nmaximum_activity_mbq = 99\n", r"at most quality\.maximum_activity_mbq, 99\.0"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key_named(tmp_path, text, named) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=named):
        Config.from_toml(path)


NUMBERS = [
    pytest.param(section, key, *get_args(hint), id=f"{section}.{key}")
    for section, kind in get_type_hints(Config).items()
    for key, hint in get_type_hints(kind, include_extras=True).items()
    if (get_args(hint)[0] if get_origin(hint) is Annotated else hint) in (int, float)
]


@pytest.mark.parametrize(("section", "key", "kind", "range_"), NUMBERS)
def test_every_number_has_a_range_and_nothing_outside_is_taken(section, key, kind, range_) -> None:
    lower, upper = (
        closed if closed is not None else open_ for closed, open_ in ((range_.ge, range_.gt), (range_.le, range_.lt))
    )
    outside: list[Any] = [lower - 1, -1] + ([lower] if range_.ge is None else [])
    if upper is not None:
        outside += [upper + 1] + ([upper] if range_.le is None else [])
    if kind is float:
        assert math.isfinite(upper)
        outside += [math.inf, -math.inf, math.nan]
    for value in outside:
        with pytest.raises(ConfigurationError, match=rf"{section}\.{key} is"):
            Config.from_dict({section: {key: value}})


def test_shares_may_fill_the_set_where_the_test_set_is_given() -> None:
    shares = {"train_fraction": 0.9, "validation_fraction": 0.1}
    assert Config.from_dict({"split": {"by": "folds", **shares}}).split.validation_fraction == 0.1


def test_what_an_earlier_version_recorded_is_read_though_it_is_out_of_range() -> None:
    recorded = {"train": {"epochs": 0, "dropout": 1.0}, "split": {"fold": 7}}
    assert Config.from_dict(recorded, recorded=True).split.fold == 7
    with pytest.raises(ConfigurationError, match="epochs"):
        Config.from_dict({"train": {"epochs": "many"}}, recorded=True)


def test_the_digests_of_the_default_parameters_are_those_of_all_stores_so_far() -> None:
    assert digest(Config().to_dict()) == "fc5ca2dfdf4ad0d1"
    assert {name: digest(keys) for name, keys in Config().to_dict().items()} == {
        "archive": "68f837aaa2073ff7",
        "reconstruct": "79a29ab5f0d0cbc9",
        "quality": "33a30f8452a99c75",
        "register": "b29661fa15032938",
        "quantify": "ab582727bdee43ed",
        "split": "fce6e3d6bfdc45a1",
        "train": "e87e4c93e7a24466",
        "explain": "d9b9f489d5db2a1d",
        "evaluate": "9c1da1f97fb61b64",
        "norms": "bcd0f08f36b43d03",
        "trust": "57fa4d4fe0fcdbcd",
        "store": "9320f6a6e3edd02f",
        "limits": "bc2a3a6c16d991bd",
    }


def test_paths_count_from_the_folder_of_the_file(tmp_path) -> None:
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


@given(
    st.dictionaries(
        st.text(max_size=5), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), max_size=6
    )
)
def test_a_digest_does_not_depend_on_the_order_of_keys(value) -> None:
    turned = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(turned)
    assert digest(value) == digest(turned)


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
