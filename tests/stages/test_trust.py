"""Studies are chosen fairly, figures joined right, and `datbatch trust` keeps what it found with the maps."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from datbatch import schema
from datbatch.classifier.folder import ModelCard
from datbatch.cohort.ledger import Ledger
from datbatch.cohort.store import Store
from datbatch.commands.evaluate import as_text
from datbatch.config import Config, TrustConfig
from datbatch.errors import ConfigurationError, GridMismatchError, ModelError, WorkerLostError
from datbatch.evaluation.trust import mean_estimate, summarise
from datbatch.stages import evaluate as evaluation_run
from datbatch.stages import trust as trust_run
from datbatch.stages.repair import repair_cohort, verify_cohort
from datbatch.stages.trust import choose_studies, compare_repeats, try_maps
from datbatch.workers import driver
from datbatch.workers.cluster_file import ACCELERATOR, IMAGER
from tests.stages.trust_figures import ALONE, CHANCE, figures

SMALL = TrustConfig(studies=2, flipping_steps=2, random_orders=1, noise_draws=1)


def test_half_of_each_class_is_chosen_and_more_studies_keep_the_first() -> None:
    labels = np.array(["negative", "positive", ""] * 20)
    usable = np.arange(60) >= 6
    some = choose_studies(labels, usable, TrustConfig(studies=8))
    more = choose_studies(labels, usable, TrustConfig(studies=11))
    assert [labels[some].tolist().count(label) for label in schema.LABELS] == [4, 4]
    assert [labels[more].tolist().count(label) for label in schema.LABELS] == [5, 6]
    assert set(some) < set(more)
    assert usable[more].all()
    assert choose_studies(labels, usable, TrustConfig(studies=8, seed=2)) != some
    # A class that has fewer gives what it has.
    assert len(choose_studies(labels, usable & (np.arange(60) < 9), TrustConfig(studies=8))) == 2
    assert choose_studies(labels, np.zeros(60, dtype=bool), TrustConfig()) == []


def test_the_interval_of_a_mean_is_students() -> None:
    values = [1.0, 2.0, 4.0, 3.5]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    found = mean_estimate([*values, None])
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert mean_estimate([2.0]).value == 2.0
    assert np.isnan(mean_estimate([2.0]).low)
    assert np.isnan(mean_estimate([None]).value)


def test_figures_of_studies_are_joined() -> None:
    studies = [("negative", figures(0.8, 1.0, -1.0)), ("positive", figures(1.0, 2.0, 3.0))]
    summary = summarise(studies, CHANCE, ALONE)
    json.dumps(summary, allow_nan=False)
    assert summary["studies"] == {"negative": 1, "positive": 1}
    assert summary["conservation"]["kept"]["value"] == pytest.approx(0.9)
    assert (summary["conservation"]["least"], summary["conservation"]["most"]) == (0.8, 1.0)
    assert summary["randomisation"][0]["absolute"]["value"] == 0.4
    assert summary["randomisation"][0]["signed"]["value"] is None
    # Triangles of height 1 and 2 over a base of 1.
    assert summary["flipping"]["area"]["relevance"]["value"] == pytest.approx(0.75)
    assert summary["flipping"]["area"]["magnitude"]["value"] == 0
    assert summary["flipping"]["probability"]["random"][-1] == 0.5
    assert summary["noise"]["sd_of_distance"] == pytest.approx(0.1 / 4)
    text = as_text("first", summary)
    assert "90.0 % of its start (80.0 % to 100.0 %); biases take 10.0 %" in text
    assert "0.40 magnitudes, not defined signed" in text
    assert "0.75 (95 % CI" in text
    assert "There is no other." in text
    assert "Fewer than 10 studies" in text


def test_what_is_not_defined_is_said_and_not_guessed() -> None:
    nothing = figures(None)
    nothing["noise"] = {"correlation": None, "putamen": 0.0, "putamen_sd": None, "same_prediction": None}
    nothing["localisation"] = {name: {"mass": None, "rank": None} for name in nothing["localisation"]}
    summary = summarise([("positive", nothing)], CHANCE, ALONE)
    text = as_text("first", summary)
    assert "not defined of its start" in text
    assert "correlation not defined" in text
    assert "relevance in the striatum, negative" not in text
    assert "nan" not in text


@pytest.mark.parametrize(
    "changed",
    [{"studies": 0}, {"flipping_steps": 0}, {"random_orders": 0}, {"noise_draws": 0}, {"block_mm": 1.0}],
    ids=str,
)
def test_parameters_that_leave_nothing_to_try_are_refused(tmp_path, changed) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(changed))):
        try_maps(tmp_path, Config(trust=TrustConfig(**changed)))


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory, cohort: Path) -> Path:
    """A copy of the cohort after `datbatch trust`."""
    folder = tmp_path_factory.mktemp("tried") / "own"
    shutil.copytree(cohort.parent, folder)
    store = folder / cohort.name
    done = try_maps(store, Config(trust=SMALL), workers=1, quiet=True)
    assert done.processed == sum(done.summary["studies"].values()) > 0
    return store


def test_what_was_found_is_kept_with_the_maps_and_not_computed_again(tried, monkeypatch) -> None:
    (name,) = Store(tried).models
    kept = json.loads(Store(tried).model_attributes(name)["trust"])
    assert kept["explain_digest"] == Store(tried).model_attributes(name)["digest"]
    assert kept["parameters"]["flipping_steps"] == 2
    monkeypatch.setattr(driver, "connect", None)
    monkeypatch.setattr(trust_run, "summarise", None)
    again = try_maps(tried, Config(trust=SMALL))
    assert again.processed == 0
    assert again.summary == kept["summary"]
    assert "relevance maps of" in as_text(again.model, again.summary)


def test_the_network_runs_on_the_pool_that_offers_the_accelerator(tried, tmp_path, monkeypatch) -> None:
    shutil.copytree(tried.parent, tmp_path / "own")

    def connect(place: str | None, *, workers: int | None, resource: str = IMAGER) -> Any:
        raise LookupError(resource)

    monkeypatch.setattr(driver, "connect", connect)
    with pytest.raises(LookupError, match=ACCELERATOR):
        try_maps(tmp_path / "own" / tried.name, Config(trust=replace(SMALL, seed=2)), quiet=True)
    with evaluation_run._cluster("pools.toml", None) as client, pytest.raises(LookupError, match=ACCELERATOR):
        client()


def test_figures_of_a_real_study_hang_together(tried) -> None:
    (name,) = Store(tried).models
    ledger = Ledger(tried)
    (folder,) = (tried / "ledger" / "trust" / name).iterdir()
    row = next(iter(ledger.rows(ledger.keys(f"trust/{name}", folder.name)))).values
    layers = row["conservation"]["layers"]
    for before, after in zip([{"kept": 1.0}, *layers], layers, strict=False):
        total = after["kept"] + after["biases"] + after["stabilisers"]
        assert total == pytest.approx(before["kept"], rel=1e-3, abs=1e-3)
    assert row["conservation"]["kept"] == pytest.approx(layers[-1]["kept"], rel=1e-3)
    curves = row["flipping"]
    starts = {curves[order][0] for order in ("relevance", "magnitude", "random")}
    ends = {curves[order][-1] for order in ("relevance", "magnitude", "random")}
    assert np.ptp(list(starts)) < 1e-4
    assert np.ptp(list(ends)) < 1e-4
    assert min(starts) >= 0
    assert row["noise"]["correlation"] > 0.5


def test_a_damaged_object_of_a_study_is_named_and_made_again_to_the_same_bytes(tmp_path, tried) -> None:
    shutil.copytree(tried.parent, tmp_path / "own")
    own = tmp_path / "own" / tried.name
    (name,) = Store(own).models
    place = sorted((own / "ledger" / "trust" / name).rglob("*.json"))[0]
    content = place.read_bytes()
    place.write_bytes(content.replace(b"e-", b"e+", 1))
    (damage,) = verify_cohort(own, quiet=True).damages
    assert (damage.array, damage.kind) == (f"ledger/trust/{name}", "unreadable")
    assert damage.study == Store(own).studies[int(place.name.partition("-")[0])]
    assert repair_cohort(own, workers=1, quiet=True).unmended == {}
    assert place.read_bytes() == content
    assert verify_cohort(own, quiet=True).damages == []


def test_another_network_of_the_same_training_is_compared(tried) -> None:
    store = Store(tried)
    (name,) = store.models
    maps = trust_run._read_maps(store, name)
    labels = store.read_table("label").astype(str)
    chosen = np.flatnonzero((maps.predicted != "") & (labels != "")).tolist()[:2]
    brain = np.zeros(schema.SHAPE, dtype=bool)
    brain[40:44, 50:54, 20:24] = True
    same = compare_repeats(store, [maps, maps], labels, chosen, brain)
    assert same["single"].value == pytest.approx(1)
    assert same["sign_agreement"] == 1.0
    assert "reason" in compare_repeats(store, [maps], labels, chosen, brain)


def test_repeats_differ_in_their_seed_alone(tried, monkeypatch) -> None:
    (name,) = Store(tried).models
    maps = trust_run._read_maps(Store(tried), name)
    config = maps.card.config

    def other(**changed: Any) -> ModelCard:
        return replace(maps.card, weights_sha256="0" * 64, config=config | {"train": config["train"] | changed})

    models = {
        "repeat": replace(maps, name="repeat", card=other(seed=2)),
        "longer": replace(maps, name="longer", card=other(seed=3, epochs=99)),
        "other data": replace(maps, name="other data", card=replace(other(seed=4), data_digest="d")),
        "other maps": replace(maps, name="other maps", card=other(seed=5), parameters={"target": "log_odds"}),
        "same weights": replace(maps, name="same weights"),
        name: maps,
    }

    def read(_: Any, model: str) -> Any:
        if model == "stale":
            raise ModelError("stale")
        return models[model]

    monkeypatch.setattr(trust_run, "_read_maps", read)
    store: Any = SimpleNamespace(models=[*models, "stale"])
    assert [found.name for found in trust_run._repeats(store, maps)] == ["repeat"]


def test_a_lost_worker_ends_the_run_with_what_to_do() -> None:
    with pytest.raises(WorkerLostError, match="lost again"):
        trust_run.Trust.on_lost(None, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attributes", "error", "words"),
    [
        ({"stale": True}, ModelError, "earlier uptake"),
        ({"card": {"shape": [10, 10, 10]}}, GridMismatchError, "another|grid"),
    ],
    ids=["stale", "grid"],
)
def test_maps_that_cannot_be_tried_are_refused(tried, attributes, error, words) -> None:
    store = Store(tried)
    (name,) = store.models
    before = store.model_attributes(name)
    if "card" in attributes:
        attributes = {"card": json.dumps(json.loads(before["card"]) | attributes["card"])}
    store.set_attributes(attributes, f"relevance/{name}")
    try:
        with pytest.raises(error, match=words):
            try_maps(tried, Config(trust=SMALL))
    finally:
        store.set_attributes({key: before.get(key, False) for key in attributes}, f"relevance/{name}")
    with pytest.raises(ModelError, match="no explained model"):
        try_maps(tried, Config(), model="other")


def test_without_explained_test_studies_the_next_step_is_named(tried) -> None:
    store = Store(tried)
    (name,) = store.models
    column = store.read_table("split", f"relevance/{name}")
    store.write_table({"split": np.full(column.shape, "train", dtype=object)}, f"relevance/{name}")
    try:
        with pytest.raises(ModelError, match="test set") as caught:
            try_maps(tried, Config(trust=SMALL))
        assert "datbatch explain" in caught.value.advice
    finally:
        store.write_table({"split": column}, f"relevance/{name}")
