"""`datbatch evaluate`: every figure of a model on its test set, from the store's tables into the store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.classifier.folder import ModelCard
from datbatch.classifier.split import check_leaks
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.lock import writes
from datbatch.cohort.store import Store
from datbatch.cohort.training_set import known_persons, quantified
from datbatch.cohort.views.cases import Column, evaluation_digest, read_cases, read_evaluation
from datbatch.config import Config, canonical_json, digest, weights_depend_on
from datbatch.errors import ModelError, TrainingDataError
from datbatch.evaluation.assessment import CERTAINTY, assess
from datbatch.evaluation.cases import Cases
from datbatch.evaluation.confusion import classification_metrics
from datbatch.evaluation.discrimination import area_under_curve
from datbatch.evaluation.estimates import as_json
from datbatch.files import write_whole
from datbatch.location import Location
from datbatch.progress import Progress
from datbatch.stages.inference import infer
from datbatch.stages.site_run import leave_one_site_out
from datbatch.workers import driver
from datbatch.workers.cluster_file import ACCELERATOR

BLURS_FWHM_MM = (0.0, 2.0, 4.0, 6.0, 8.0)
"""Extra blur of the resolution sweep."""


@dataclass(frozen=True)
class EvaluationSummary:
    """What an evaluation found."""

    model: str
    values: Mapping[str, Any]
    """What the store keeps: `evaluation.assessment.Evaluation` as JSON, and the sweeps."""


@writes
def evaluate_cohort(
    cohort: Location,
    config: Config,
    *,
    model: str | None = None,
    blur: bool = False,
    each_site: bool = False,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> EvaluationSummary:
    """Evaluate a model, its repeats and the comparators on the test set; everything goes into the model's group.

    Inference that `datbatch explain` has stored is used; a repeat that was not explained is only inferred. What says
    whether a study's call is certain also goes beside the model, see `certainty.read_certainty`.

    Parameters
    ----------
    cohort : Path
        Folder of the store.
    config : Config
        Parameters; of them `evaluate`.
    model : str, optional
        Name of a trained model; the newest by default.
    blur : bool
        Whether to see how the figures change with extra blur.
    each_site : bool
        Whether to train one model per site without that site, and to evaluate it there.
    cluster, workers, quiet
        As for `run_imaging`.

    Raises
    ------
    ModelError
        When there is no such model.
    TrainingDataError
        When the model's test set has no study with label and image.
    SplitLeakError
        When the same person or the same pixels are in two of the model's sets.
    """
    opened = Cohort(cohort)
    store = opened.store
    name = model if model is not None else opened.newest_model()
    if name not in store.models:
        raise ModelError(f"the store has no model {name!r}", "Name one of the models that `datbatch status` lists.")
    attributes = store.model_attributes(name)
    if attributes["quantify"] != opened.digest_of("quantify"):
        raise ModelError("the model was trained on uptake that was replaced", "Call `datbatch train COHORT` again.")
    card = opened.card(name)
    studies, rows = quantified(opened)
    hashes = [rows[study].sha256.get(schema.UPTAKE.name, "") for study in studies]
    with _cluster(cluster, workers) as client:

        def odds_of(one: str, wanted: npt.NDArray[np.bool_], title: str, blurs: Sequence[float] = (0.0,)) -> Any:
            chosen = {int(index): hashes[index] for index in np.flatnonzero(wanted) if hashes[index]}
            weights = opened.card(one).weights_sha256
            progress = Progress(title, len(chosen), quiet=quiet)
            found = infer(
                client, cohort.absolute(), opened.folder(one).path, weights, chosen, blurs, on_progress=progress.advance
            )
            progress.close()
            return found

        tables = read_cases(_columns(store), name, attributes)
        cases = _with_split(tables, opened.folder(name).split())
        check_leaks(cases.split, studies, persons=_persons(store, card), pixels=hashes)
        if not cases.members("test").any():
            raise TrainingDataError("the model's test set has no study with a label and an image")
        weights, odds = {}, {}
        for one in (name, *repeats_of(opened, name)):
            weights[one] = opened.card(one).weights_sha256
            odds[one] = store.read_table("log_odds", f"relevance/{one}")
            lacking = (cases.members("test") | cases.members("validation")) & ~np.isfinite(odds[one])
            if lacking.any():
                for index, value in odds_of(one, lacking, f"infer {one}")[0.0].items():
                    odds[one][index] = value
        cases = replace(cases, log_odds=odds[name])
        values = as_json(assess(cases, name, weights, odds, config.evaluate.uncertain_share))
        values |= {"model": name, "weights": weights, "parameters": asdict(config.evaluate)}
        values |= {"digest": evaluation_digest(tables, weights), "sets": _sets(cases)}
        before = read_evaluation(attributes)
        seen = digest([card.weights_sha256, [h for h, used in zip(hashes, cases.members("test"), strict=True) if used]])
        values["blur"] = _kept(before, "blur", seen)
        if blur:
            test = cases.members("test")
            values["blur"] = {"of": seen, "rows": _sweep(cases, odds_of(name, test, "blur", BLURS_FWHM_MM))}
        content = digest([card.config["train"], cases.label.tolist(), cases.site.tolist(), hashes])
        values["each_site"] = _kept(before, "each_site", content)
        if each_site:
            found = leave_one_site_out(opened, name, cases, odds_of, cluster=cluster, workers=workers, quiet=quiet)
            values["each_site"] = {"of": content, **found}
    text = canonical_json(values)
    store.set_attributes({"evaluation": text}, f"relevance/{name}")
    store.consolidate()
    write_whole(opened.folder(name).evaluation_file, kept_decisions(text))
    return EvaluationSummary(name, values)


def kept_decisions(evaluation: str) -> bytes:
    """Give what is kept beside the model of an evaluation as the store has it: what tells whether a call is certain."""
    values = json.loads(evaluation)
    decisions = {
        "digest": values["digest"],
        "weights_sha256": values["weights"][values["model"]],
        "certainty": [found["certainty"] for found in values["certainty"]],
        "too_few": next((row["reason"] for row in values["missing"] if row["figure"] == CERTAINTY), ""),
    }
    return canonical_json(decisions).encode()


def repeats_of(cohort: Cohort, model: str) -> list[str]:
    """Name the models that differ from one only in the seed: the same data, split and parameters of training."""

    def content(name: str) -> Any:
        card = cohort.card(name)
        trained = weights_depend_on(card.config["train"]) | {"seed": None}
        return card.preset, card.shape, card.data_digest, trained

    wanted = content(model)
    return [name for name in cohort.store.models if name != model and content(name) == wanted]


def _columns(store: Store) -> Column:
    fresh = store.has_normal_range and not store.group_attributes(schema.NORMAL_RANGE).get("stale")

    def column(name: str, group: str) -> npt.NDArray[Any] | None:
        if (group == schema.NORMAL_RANGE and not fresh) or not store.has_table(name, group):
            return None
        return store.read_table(name, group)

    return column


def _with_split(tables: Cases, split: Mapping[str, str]) -> Cases:
    """Take the split from beside the model: the table of one that was not explained has none yet."""
    return replace(tables, split=np.asarray([split.get(study, "") for study in tables.study], dtype=np.str_))


def _persons(store: Store, card: ModelCard) -> npt.NDArray[Any]:
    if card.config.get("split", {}).get("keep_persons", True):
        return known_persons(store)
    return np.full(len(store.studies), "", dtype=object)


@contextmanager
def _cluster(address: str | None, workers: int | None) -> Iterator[Any]:
    """Give a function that connects when it is first called: most evaluations need no worker."""
    with ExitStack() as stack:
        clients: list[Any] = []

        def client() -> Any:
            if not clients:
                clients.append(stack.enter_context(driver.connect(address, workers=workers, resource=ACCELERATOR)))
            return clients[0]

        yield client


def _kept(before: Mapping[str, Any], name: str, of: str) -> dict[str, Any] | None:
    """Keep what only an option computes, as long as it is of the same model and studies."""
    found = before.get(name)
    return dict(found) if found and found["of"] == of else None


def _sets(cases: Cases) -> dict[str, dict[str, int]]:
    return {
        name: {
            label: int((cases.members(name) & (cases.label == index)).sum())
            for index, label in enumerate(schema.LABELS)
        }
        for name in ("train", "validation", "test")
    }


def _sweep(cases: Cases, found: Mapping[float, Mapping[int, float]]) -> list[dict[str, Any]]:
    rows = []
    for fwhm_mm, values in found.items():
        truth, odds = cases.label[list(values)], np.asarray(list(values.values()))
        metrics, area = classification_metrics(truth, odds > 0), area_under_curve(truth, odds)
        rows.append(as_json({"fwhm_mm": fwhm_mm, "metrics": metrics, "area": area}))
    return rows
