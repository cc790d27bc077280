"""`datbatch evaluate`: every figure of a model on its test set, from the store's tables into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.classifier.folder import ModelCard
from datbatch.classifier.split import check_leaks
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.lock import writes
from datbatch.cohort.record import CommandRecord
from datbatch.cohort.store import Store
from datbatch.cohort.training_set import known_persons, quantified
from datbatch.cohort.views.cases import Column, evaluation_digest, read_cases, read_evaluation
from datbatch.config import Config, canonical_json, digest, weights_depend_on
from datbatch.errors import ModelError, TrainingDataError
from datbatch.evaluation.assessment import assess
from datbatch.evaluation.cases import Cases
from datbatch.evaluation.confusion import classification_metrics
from datbatch.evaluation.discrimination import area_under_curve
from datbatch.evaluation.estimates import as_json
from datbatch.files import write_whole
from datbatch.location import Location
from datbatch.progress import Progress
from datbatch.stages.inference import infer
from datbatch.stages.stage import Where, Whole, settle
from datbatch.stages.train import train_model
from datbatch.study.certainty import kept_decisions
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
    name = model if model is not None else opened.newest_model()
    return settle(Evaluate(opened, config, name, Where(cluster, workers, quiet), blur=blur, each_site=each_site))


class Evaluate(Whole[EvaluationSummary]):
    """The figures of a model. They are cheap beside the inference that they need, which is kept: they are made anew.

    Parameters
    ----------
    cohort : Cohort
        With the model.
    config : Config
        Parameters; of them `evaluate`.
    model : str
        Its name.
    where : Where
        Where to infer what is not explained.
    blur, each_site : bool
        As for `evaluate_cohort`.
    """

    command = "evaluate"

    def __init__(
        self, cohort: Cohort, config: Config, model: str, where: Where, *, blur: bool, each_site: bool
    ) -> None:
        super().__init__(cohort, config)
        self.model, self._where, self._blur, self._each_site = model, where, blur, each_site
        if model not in cohort.store.models:
            advice = "Name one of the models that `datbatch status` lists."
            raise ModelError(f"the store has no model {model!r}", advice)
        if cohort.store.model_attributes(model)["quantify"] != cohort.digest_of(schema.QUANTIFY):
            raise ModelError("the model was trained on uptake that was replaced", "Call `datbatch train COHORT` again.")
        studies, rows = quantified(cohort)
        self._hashes = [rows[study].sha256.get(schema.UPTAKE.name, "") for study in studies]
        self._tables = read_cases(_columns(cohort.store), model, cohort.store.model_attributes(model))
        self._cases = _with_split(self._tables, cohort.folder(model).split())
        persons = _persons(cohort.store, cohort.card(model))
        check_leaks(self._cases.split, studies, persons=persons, pixels=self._hashes)
        if not self._cases.members("test").any():
            raise TrainingDataError("the model's test set has no study with a label and an image")

    def facts(self) -> dict[str, Any]:
        """Name the model."""
        return {"model": self.model}

    def make(self, record: CommandRecord) -> EvaluationSummary:
        """Infer what is missing, and make all figures."""
        with _cluster(self._where.cluster, self._where.workers) as client:
            values = self._figures(partial(self._odds_of, record, client))
        store, text = self.cohort.store, canonical_json(values)
        store.set_attributes({"evaluation": text}, f"relevance/{self.model}")
        store.consolidate()
        write_whole(self.cohort.folder(self.model).evaluation_file, kept_decisions(text))
        return EvaluationSummary(self.model, values)

    def _odds_of(
        self,
        record: CommandRecord,
        client: Any,
        model: str,
        wanted: npt.NDArray[np.bool_],
        title: str,
        blurs: Sequence[float] = (0.0,),
    ) -> dict[float, dict[int, float]]:
        chosen = {int(index): self._hashes[index] for index in np.flatnonzero(wanted) if self._hashes[index]}
        progress = record.watch(Progress(title, len(chosen), quiet=self._where.quiet))
        found = infer(
            client, self.cohort.path.absolute(), self.cohort.folder(model).path,
            self.cohort.card(model).weights_sha256, chosen, blurs, on_progress=progress.advance,
        )  # fmt: skip
        progress.close()
        return found

    def _figures(self, odds_of: Callable[..., Any]) -> Any:
        opened, name, cases, hashes, where = self.cohort, self.model, self._cases, self._hashes, self._where
        evaluate, card = self.config.evaluate, opened.card(name)
        weights, odds = {}, {}
        for one in (name, *repeats_of(opened, name)):
            weights[one] = opened.card(one).weights_sha256
            odds[one] = opened.store.read_table("log_odds", f"relevance/{one}")
            lacking = (cases.members("test") | cases.members("validation")) & ~np.isfinite(odds[one])
            if lacking.any():
                for index, value in odds_of(one, lacking, f"infer {one}")[0.0].items():
                    odds[one][index] = value
        cases = replace(cases, log_odds=odds[name])
        values = as_json(assess(cases, name, weights, odds, evaluate.uncertain_share))
        values |= {"model": name, "weights": weights, "parameters": asdict(evaluate)}
        values |= {"digest": evaluation_digest(self._tables, weights), "sets": _sets(cases)}
        before, test = read_evaluation(opened.store.model_attributes(name)), cases.members("test")
        seen = digest([card.weights_sha256, [h for h, used in zip(hashes, test, strict=True) if used]])
        values["blur"] = _kept(before, "blur", seen)
        if self._blur:
            values["blur"] = {"of": seen, "rows": _sweep(cases, odds_of(name, test, "blur", BLURS_FWHM_MM))}
        content = digest([card.config["train"], cases.label.tolist(), cases.site.tolist(), hashes])
        values["each_site"] = _kept(before, "each_site", content)
        if self._each_site:
            found = leave_one_site_out(
                opened, name, cases, odds_of, cluster=where.cluster, workers=where.workers, quiet=where.quiet
            )
            values["each_site"] = {"of": content, **found}
        return values


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


def leave_one_site_out(
    cohort: Cohort,
    model: str,
    cases: Cases,
    odds_of: Callable[..., Any],
    *,
    cluster: str | None,
    workers: int | None,
    quiet: bool,
) -> dict[str, Any]:
    """Train a model for each site without its studies, with the parameters of a given one, and evaluate it there.

    The models stand beside the others, marked as parts of the given one: called again, what is trained is found.

    Parameters
    ----------
    cohort : Cohort
        The cohort.
    model : str
        Whose parameters are used.
    cases : Cases
        Its studies.
    odds_of : callable
        Gives the log odds of a model, by name, for a mask of studies.
    cluster, workers, quiet
        As for `run_imaging`.

    Returns
    -------
    dict
        JSON: figures by site, those of all sites together, and sites that could not be left out, with the reason.
    """
    config, store = Config.from_dict(cohort.card(model).config, recorded=True), cohort.store
    split = store.read_table("split")
    labelled = cases.label >= 0
    rows, missing = [], []
    truth, calls = [], []
    try:
        for site in sorted(set(cases.site[labelled].tolist()) - {""}):
            held_out = replace(config, split=replace(config.split, by="site", held_out=[site]))
            inside = labelled & (cases.site == site)
            try:
                trained = train_model(store.path, held_out, cluster=cluster, workers=workers, quiet=quiet)
            except TrainingDataError as error:
                missing.append({"site": site, "reason": error.reason})
                continue
            if trained.model != model:
                store.set_attributes({"part_of": model}, f"relevance/{trained.model}")
            found = odds_of(trained.model, inside, f"infer {site}")[0.0]
            of_site, odds = cases.label[list(found)], np.asarray(list(found.values()))
            truth.append(of_site)
            calls.append(odds > 0)
            figures = {"metrics": classification_metrics(of_site, odds > 0), "area": area_under_curve(of_site, odds)}
            rows.append({"site": site, "model": trained.model, **figures})
    finally:
        # Training writes its own split into the root's table.
        store.write_table({"split": split})
        store.consolidate()
    together = classification_metrics(np.concatenate(truth), np.concatenate(calls)) if truth else None
    found_all: dict[str, Any] = as_json({"rows": rows, "together": together, "missing": missing})
    return found_all
