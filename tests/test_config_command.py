"""What `datbatch config` says can be given back, tells where each value comes from, and describes every key."""

import dataclasses
import json
from pathlib import Path

import pytest

from datbatch.archive import Manifest
from datbatch.archive.origin import Origin, write_origin
from datbatch.cli import main
from datbatch.cohort.store import Store
from datbatch.config import KNOWN_BY, Config, QuantifyConfig, RegisterConfig, TrainConfig

MADE = Config(
    train=TrainConfig(epochs=7, learning_rate=1e-5), quantify=QuantifyConfig(atlas_labels={"putamen_left": [1, 2]})
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that was made with other parameters than the default ones."""
    path = Store.create(tmp_path / "cohort.zarr", granule_studies=2).path
    write_origin(path, Origin({}, MADE), Manifest((), 0, {}))
    return path


def test_what_is_shown_is_a_parameter_file_of_the_same_parameters(tmp_path, store, capsys) -> None:
    given, shown = tmp_path / "given.toml", tmp_path / "shown.toml"
    given.write_text("[register]\ntemplate = 'own/Schädel \"1\".nii'\n[explain]\nrules = ['flat', 'z+']\n", "utf-8")
    assert main(["config", "show", str(store), "--config", str(given)]) == 0
    shown.write_text(capsys.readouterr().out, "utf-8")
    own = Config.from_toml(given)
    assert Config.from_toml(shown) == dataclasses.replace(MADE, register=own.register, explain=own.explain)


def test_each_value_says_where_it_comes_from_and_what_is_allowed(tmp_path, store, capsys) -> None:
    given = tmp_path / "given.toml"
    given.write_text("[train]\nbatch_size = 4\n")
    assert main(["config", "show", str(store), "--config", str(given), "--json"]) == 0
    train = json.loads(capsys.readouterr().out)["train"]
    assert train["batch_size"] == {"value": 4, "from": "file", "allowed": "a whole number, at least 1"}
    assert (train["epochs"]["value"], train["epochs"]["from"]) == (7, "store")
    assert main(["config", "show", "--config", str(given)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "epochs = 84  # default; a whole number, at least 1" in lines
    assert 'preset = "paper"  # default; one of "paper", "compact"' in lines


def test_a_store_that_was_passed_on_says_its_parameters_but_no_file(tmp_path, capsys) -> None:
    store = Store.create(tmp_path / "cohort.zarr", granule_studies=2)
    known = dataclasses.replace(MADE, register=RegisterConfig(template=f"{KNOWN_BY}0123"))
    store.set_attributes({"config": json.dumps(known.to_stored_dict())})
    assert main(["config", "show", str(store.path)]) == 0
    shown = tmp_path / "shown.toml"
    shown.write_text(capsys.readouterr().out)
    assert Config.from_toml(shown) == MADE
    assert f'# template = "{KNOWN_BY}0123"  # store' in shown.read_text()


def test_a_wrong_option_is_refused_as_in_a_file(tmp_path, capsys) -> None:
    for command, option, key in (("train", "epochs", "train.epochs"), ("trust", "studies", "trust.studies")):
        assert main([command, str(tmp_path / "none.zarr"), f"--{option}", "0", "--json"]) == 2
        answer = json.loads(capsys.readouterr().out)
        assert answer["error"] == "configuration-invalid"
        assert answer["reason"] == f"{key} is 0; it must be a whole number, at least 1"


def test_the_schema_describes_every_key_and_refuses_others(capsys) -> None:
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    kinds = schema["$defs"]
    sections = {name: kinds[each["$ref"].rsplit("/")[-1]] for name, each in kinds["Config"]["properties"].items()}
    for name, keys in Config().to_dict().items():
        assert sections[name]["properties"].keys() == keys.keys()
        assert not sections[name]["additionalProperties"]
        assert all(each["description"] for each in sections[name]["properties"].values())
    dropout = sections["train"]["properties"]["dropout"]
    assert (dropout["minimum"], dropout["exclusiveMaximum"], dropout["default"]) == (0, 1, 0.2)
