"""A saved model is the same when it is read, and nothing but an intact one is read."""

import hashlib
import json
import os
import pickle

import pytest
import torch

from datbatch.classifier import ModelCard, build_network, load_model, save_model
from datbatch.errors import ModelError

CARD_FILE, WEIGHTS_FILE = "card.json", "model.safetensors"
SHAPE = (10, 11, 10)


def card(**changes):
    given = {
        "preset": "paper",
        "shape": SHAPE,
        "config": {"train": {"dropout": 0.2}},
        "data_digest": "0123456789abcdef",
        "history": ({"epoch": 1, "train_loss": 0.5, "validation_loss": None, "validation_accuracy": None},),
        "metrics": {"test": {"accuracy": {"value": None}}},
        "orientation": {"sign": -1, "threshold": 0.25, "auc": 0.9},
    }
    return ModelCard(**given | changes)


def change_card(folder, **changes):
    path = folder / CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def saved(tmp_path):
    return tmp_path / "model", save_model(tmp_path / "model", build_network(SHAPE, seed=1), card())


def test_a_model_is_read_as_it_was_saved(saved):
    folder, model = saved
    read = load_model(folder)
    assert read.card == model.card
    assert read.card.parameters == sum(p.numel() for p in read.network.parameters())
    images = torch.rand(2, 1, *SHAPE)
    torch.testing.assert_close(read.network(images), model.network.eval()(images))
    assert not read.network.training
    assert sorted(entry.name for entry in folder.iterdir()) == sorted([CARD_FILE, WEIGHTS_FILE])
    assert [entry.name for entry in folder.parent.iterdir()] == ["model"]


def test_the_card_says_that_it_is_research_software_and_names_versions(saved):
    text = json.loads((saved[0] / CARD_FILE).read_text())
    assert text["notice"] == "Research software, not a medical device."
    assert {"datbatch", "python", "torch"} <= set(text["versions"])


def test_saving_again_replaces_the_model_as_a_whole(saved):
    folder, first = saved
    second = save_model(folder, build_network(SHAPE, seed=2), card())
    assert load_model(folder).card.weights_sha256 == second.card.weights_sha256 != first.card.weights_sha256
    assert [entry.name for entry in folder.parent.iterdir()] == ["model"]


def test_equal_weights_give_equal_bytes(tmp_path):
    for name in "ab":
        save_model(tmp_path / name, build_network(SHAPE, seed=1), card())
    for file in (CARD_FILE, WEIGHTS_FILE):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_flipped_bit_in_the_weights_is_noticed(saved):
    weights = saved[0] / WEIGHTS_FILE
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError, match="not those that the model's card describes"):
        load_model(saved[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": 7}, "parameters"),
        ({"shape": [10, 11, 11]}, "parameters"),
        ({"shape": [10, 11]}, "no usable grid"),
        ({"preset": "huge"}, "unknown preset"),
        ({"card_version": 99}, "another layout"),
        ({"surprise": 1}, "cannot be read"),
    ],
)
def test_a_card_that_does_not_match_is_refused(saved, change, message):
    change_card(saved[0], **change)
    with pytest.raises(ModelError, match=message):
        load_model(saved[0])


def test_weights_of_another_network_are_refused_even_with_a_matching_digest(saved, tmp_path):
    folder, _ = saved
    other = save_model(tmp_path / "other", build_network((12, 12, 12), seed=1), card())
    (folder / WEIGHTS_FILE).write_bytes((tmp_path / "other" / WEIGHTS_FILE).read_bytes())
    change_card(folder, weights_sha256=other.card.weights_sha256)
    with pytest.raises(ModelError, match="do not fit"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"card_version": 1}', "\x00"])
def test_a_card_that_is_none_is_refused(saved, text):
    (saved[0] / CARD_FILE).write_text(text)
    with pytest.raises(ModelError):
        load_model(saved[0])


def test_a_pickle_is_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    folder, data = tmp_path / "model", pickle.dumps(Trap())
    folder.mkdir()
    (folder / "model.pt").write_bytes(data)
    for place in (folder, folder / "model.pt"):
        with pytest.raises(ModelError, match="pickled"):
            load_model(place)
    # Under the right name too: the digest may match, the format does not.
    save_model(tmp_path / "good", build_network(SHAPE, seed=1), card())
    (tmp_path / "good" / WEIGHTS_FILE).write_bytes(data)
    change_card(tmp_path / "good", weights_sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(ModelError, match="do not fit"):
        load_model(tmp_path / "good")
    assert not (tmp_path / "sprung").exists()


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(ModelError, match="holds no model"):
        load_model(tmp_path / "nowhere")
