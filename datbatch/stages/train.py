"""`datbatch train` and `datbatch explain`: the driver's side of split, training, inference and relevance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.classifier import encode_labels
from datbatch.classifier.model import CARD_FILE, ModelCard
from datbatch.cohort.fold import value_columns
from datbatch.cohort.ledger import GranuleKey, Ledger
from datbatch.cohort.lock import writes
from datbatch.cohort.record import recorded_command
from datbatch.cohort.store import Store, models_path
from datbatch.cohort.training_set import positive_share, quantified, training_set
from datbatch.config import Config, canonical_json, digest, weights_depend_on
from datbatch.errors import ModelError, TrainingDataError
from datbatch.files import write_whole
from datbatch.location import Location
from datbatch.progress import Progress
from datbatch.relevance import check_rules, inconsistent, learn_orientation, orienting_studies
from datbatch.stages.model_task import (
    HISTORY_FILE,
    ExplainRecord,
    ExplainTask,
    TrainTask,
    explain_granule,
    train_on_worker,
)
from datbatch.stages.planning import PlannedStage, changed_keys
from datbatch.study.imaging import EXPLAIN_VERSION, TRAIN_VERSION
from datbatch.study.relevance import HOTTEST, PUTAMEN
from datbatch.study.space import as_imaged, keep_in_model, used_atlas
from datbatch.workers import driver
from datbatch.workers.cluster_file import ACCELERATOR
from datbatch.workers.group import run_group

SPLIT_FILE = "split.json"


@dataclass(frozen=True)
class TrainSummary:
    """What training left."""

    model: str
    """Name: preset and digest of parameters and data."""
    folder: Path
    trained: bool
    """False when the same model was there already."""
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class ExplainSummary:
    """What explaining left."""

    model: str
    done: int
    """Studies with relevance in the store."""
    processed: int
    """Of them, computed in this run."""


@writes
def train_model(
    cohort: Location,
    config: Config,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> TrainSummary:
    """Split the labelled studies of a cohort and train the network on a worker that holds the accelerator.

    The model's name covers its parameters and its data: a second call finds it; after a kill it continues from the
    last checkpoint.

    Raises
    ------
    TrainingDataError
        When the labelled studies do not suffice.
    NoAcceleratorError
        When no worker holds the accelerator resource.
    """
    check_rules(config.explain.rules)
    store = Store(cohort)
    config = as_imaged(store, config)
    wanted = _wanted_model(store, config)
    folder = models_path(cohort) / wanted.name
    trained = not folder.exists()
    if trained:
        workspace = folder.with_name(f".{wanted.name}.training")
        task = TrainTask(
            cohort.absolute(),
            folder.absolute(),
            workspace.absolute(),
            config,
            wanted.labels,
            wanted.split,
            wanted.data,
            used_atlas(store),
            tuple(wanted.studies),
            wanted.shares,
        )
        together = max(1, config.train.processes)
        progress = Progress("train", config.train.epochs, "epochs", quiet=quiet)
        with (
            recorded_command(cohort, "train", config, model=wanted.name, data=wanted.data) as record,
            driver.connect(cluster, workers=workers or together, resource=ACCELERATOR) as client,
        ):
            record.watch(progress)
            poll = partial(_show, progress, workspace)
            run_group(client, train_on_worker, task, size=together, poll=poll)
        _show(progress, workspace)
        progress.close()
        shutil.rmtree(workspace, ignore_errors=True)
    split = dict(zip(wanted.studies, map(str, wanted.split), strict=True))
    write_whole(folder / SPLIT_FILE, canonical_json(split).encode())
    keep_in_model(folder, cohort.absolute(), config)
    _add_group(store, wanted.name, _card(folder))
    store.write_table({"split": wanted.split.astype(object)})
    store.consolidate()
    return TrainSummary(wanted.name, folder, trained, _card(folder).metrics or {})


@dataclass(frozen=True)
class _Wanted:
    """The model that parameters and data call for."""

    name: str
    studies: list[str]
    labels: npt.NDArray[np.int64]
    split: npt.NDArray[np.str_]
    data: str
    shares: npt.NDArray[np.float64] | None
    """Share of positive reads by study, where the labels are soft."""


def _wanted_model(store: Store, config: Config) -> _Wanted:
    studies, rows, labels, split = training_set(store, config.split)
    members = [
        [s, dict(rows[s].sha256), label, str(part)] for s, label, part in zip(studies, labels, split, strict=True)
    ]
    # The orientation of relevance is learned with the atlas.
    shares = positive_share(store.read_table("reads")) if config.train.soft_labels == "reads" else None
    voted = [] if shares is None else [[None if np.isnan(share) else float(share) for share in shares]]
    data = digest([used_atlas(store), members, *voted])
    name = f"{config.train.preset}-{digest([TRAIN_VERSION, config.train.identity(), data])[:8]}"
    return _Wanted(name, studies, encode_labels(labels), split, data, shares)


def plan_models(cohort: Location, config: Config, imaging: Sequence[PlannedStage]) -> tuple[PlannedStage, PlannedStage]:
    """Say what `datbatch train` and `datbatch explain` would do after a run, and why."""
    changing = [stage.name for stage in imaging if stage.studies]
    included = max((stage.studies + stage.done for stage in imaging), default=0)
    if changing or not Store.exists(cohort):
        reason = f"{changing[-1] if changing else 'quantify'} changes"
        return PlannedStage("train", included, 0, reason), PlannedStage("explain", included, 0, "train changes")
    store = Store(cohort)
    try:
        wanted = _wanted_model(store, config)
    except TrainingDataError as error:
        reason = f"not possible: {error.reason}"
        return PlannedStage("train", 0, 0, reason), PlannedStage("explain", 0, 0, reason)
    labelled = int((wanted.labels >= 0).sum())
    folder = models_path(cohort) / wanted.name
    if not folder.exists():
        train = PlannedStage("train", labelled, 0, _why_train(store, config))
        return train, PlannedStage("explain", included, 0, "train changes")
    train = PlannedStage("train", 0, labelled, "up to date")
    keys = _explain_tasks(store, config, wanted.name)
    names = Ledger(cohort).names(f"explain/{wanted.name}", _explain_digest(store, _card(folder), config))
    todo = sum(row.status == schema.DONE for task in keys if task.key.name not in names for row in task.quantified)
    before = store.model_attributes(wanted.name).get("parameters", asdict(config.explain))
    changes = changed_keys(before, asdict(config.explain))
    reason = "; ".join(changes) or f"{todo} studies are new, changed or not finished" if todo else "up to date"
    return train, PlannedStage("explain", todo, included - todo, reason)


def _why_train(store: Store, config: Config) -> str:
    if not store.models:
        return "not run before"
    before = _card(models_path(store.path) / newest_model(store)).config
    trained, wanted = weights_depend_on(before["train"]), weights_depend_on(asdict(config.train))
    changes = changed_keys(trained, wanted) + changed_keys(before["split"], asdict(config.split))
    return "; ".join(changes) or "the studies, their labels or their uptake changed"


@writes
def explain_cohort(
    cohort: Location,
    config: Config,
    *,
    model: str | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> ExplainSummary:
    """Infer and explain every study of a cohort, on workers that hold the accelerator, into the store.

    Parameters
    ----------
    cohort : Path
        Folder of the store.
    config : Config
        Parameters; of them `explain`.
    model : str, optional
        Name of a trained model; the newest by default.
    cluster, workers, quiet
        As for `run_imaging`.
    """
    check_rules(config.explain.rules)
    store, ledger = Store(cohort), Ledger(cohort)
    name = model if model is not None else newest_model(store)
    card = _card(models_path(cohort) / name)
    stage, value = f"explain/{name}", _explain_digest(store, card, config)
    tasks = _explain_tasks(store, config, name)
    ledger.retire(stage, value, {task.key.name for task in tasks})
    _add_group(store, name, card)
    store.set_attributes({"digest": value, "parameters": asdict(config.explain)}, f"relevance/{name}")
    done = ledger.names(stage, value)
    pending = [task for task in tasks if task.key.name not in done]
    records: list[ExplainRecord] = []
    try:
        if pending:
            total = sum(row.status == schema.DONE for task in pending for row in task.quantified)
            progress = Progress("explain", total, quiet=quiet)

            def note(record: ExplainRecord) -> None:
                records.append(record)
                progress.advance(record.explained)

            weights = card.weights_sha256
            with (
                recorded_command(
                    cohort, "explain", config, model=name, weights_sha256=weights, stages={stage: value}
                ) as command,
                driver.connect(cluster, workers=workers, resource=ACCELERATOR) as client,
            ):
                command.watch(progress)
                driver.run_tasks(
                    client,
                    explain_granule,
                    pending,
                    on_record=note,
                    on_lost=lambda task: [task],
                    on_accelerator=True,
                    progress=progress,
                )
            progress.close()
    finally:
        folded = _fold(store, ledger, name, [task.key for task in tasks], card)
    return ExplainSummary(name, folded, sum(record.explained for record in records))


def _explain_digest(store: Store, card: ModelCard, config: Config) -> str:
    content = {"version": EXPLAIN_VERSION, "parameters": asdict(config.explain), "weights": card.weights_sha256}
    return digest(content | {"atlas": used_atlas(store)})


def _explain_tasks(store: Store, config: Config, name: str) -> list[ExplainTask]:
    """Give the task of each granule; its key covers the bytes of the uptake that it explains."""
    cohort, folder = store.path.absolute(), (models_path(store.path) / name).absolute()
    card = _card(folder)
    value = _explain_digest(store, card, config)
    studies, done = quantified(store)
    tasks = []
    for granule, first in enumerate(range(0, len(studies), store.granule_studies)):
        rows = tuple(done[study] for study in studies[first : first + store.granule_studies])
        members = digest([[row.study, row.status, dict(row.sha256)] for row in rows])[:8]
        key = GranuleKey(f"explain/{name}", value, granule, members)
        tasks.append(
            ExplainTask(cohort, name, folder, card.weights_sha256, config.explain, used_atlas(store), key, first, rows)
        )
    return tasks


def newest_model(store: Store) -> str:
    """Name the model that was added last.

    Raises
    ------
    ModelError
        When the store has none.
    """
    # Models that leave a site out serve the evaluation of another.
    models = [name for name in store.models if "part_of" not in store.model_attributes(name)]
    if not models:
        raise ModelError("the store has no trained model", "Call `datbatch train COHORT` first.")
    return max(models, key=lambda name: str(store.model_attributes(name)["created"]))


def _card(folder: Path) -> ModelCard:
    try:
        return ModelCard.from_json((folder / CARD_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError("there is no trained model of that name beside the store") from error


def _add_group(store: Store, name: str, card: ModelCard) -> None:
    attributes: dict[str, Any] = {"card": card.to_json(), "quantify": store.attributes["stages"]["quantify"]["digest"]}
    if name not in store.models:
        attributes["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    store.add_model(name, attributes)


def _fold(store: Store, ledger: Ledger, name: str, keys: list[GranuleKey], card: ModelCard) -> int:
    """Write the model's tables; what the sign of relevance means is learned from the rows of `orienting_studies`."""
    studies, group = store.studies, f"relevance/{name}"
    rows = list(ledger.rows(keys, discard=True))
    # The split stands beside the model: a later split of a grown cohort is another.
    split = json.loads((models_path(store.path) / name / SPLIT_FILE).read_text(encoding="utf-8"))
    columns = value_columns(schema.RELEVANCE_TABLE, studies, rows)
    columns["split"] = np.asarray([split.get(study, "") for study in studies], dtype=object)
    putamen = columns["regional"][:, PUTAMEN, HOTTEST]
    labels = encode_labels(store.read_table("label"))
    known = np.isfinite(putamen)
    watched = orienting_studies(np.where(known, columns["split"], ""), labels)
    if np.unique(labels[watched]).size == len(schema.LABELS):
        card = replace(card, orientation=asdict(learn_orientation(putamen[watched], labels[watched])))
    assert card.orientation is not None
    explained = columns["predicted"] != ""
    columns["inconsistent"] = explained & inconsistent(
        card.orientation["sign"] * putamen, encode_labels(columns["predicted"]), card.orientation["threshold"]
    )
    store.write_table(columns, group)
    store.set_attributes({"card": card.to_json()}, group)
    store.consolidate()
    return int(explained.sum())


def _show(progress: Progress, workspace: Path) -> None:
    try:
        state = json.loads((workspace / HISTORY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if state["epochs"] > progress.done:
        last = state["last"]
        note = f"loss {last['train_loss']:.3f}"
        if last["validation_loss"] is not None:
            note += f", validation {last['validation_loss']:.3f} ({100 * last['validation_accuracy']:.0f} % right)"
        progress.reach(state["epochs"], note=note)
