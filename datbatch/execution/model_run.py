"""`datbatch train` and `datbatch explain`: the driver's side of split, training, inference and relevance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.classifier import assign_split, encode_labels
from datbatch.classifier.model import CARD_FILE, ModelCard
from datbatch.cohort import schema
from datbatch.cohort.fold import value_columns
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.store import Store, models_path
from datbatch.config import Config, canonical_json, digest
from datbatch.errors import ModelError, StoreError, TrainingDataError
from datbatch.execution import driver
from datbatch.execution.model_task import (
    HISTORY_FILE,
    ExplainRecord,
    ExplainTask,
    TrainTask,
    explain_granule,
    train_on_worker,
)
from datbatch.execution.progress import Progress
from datbatch.execution.stages import EXPLAIN_VERSION, TRAIN_VERSION

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


def train_model(
    cohort: Path,
    config: Config,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> TrainSummary:
    """Split the labelled studies of a cohort and train the network on a worker that holds the accelerator.

    The model's name covers its parameters and its data: a second call finds it; after a kill it continues from the
    last finished epoch.

    Raises
    ------
    TrainingDataError
        When the labelled studies do not suffice.
    NoAcceleratorError
        When no worker holds the accelerator resource.
    """
    store = Store(cohort)
    studies, rows = _quantified(store)
    labels = store.read_table("label")
    # Only what has an image can train: the others count as unlabelled.
    labels[[rows[study].status != schema.DONE for study in studies]] = ""
    if not (labels != "").any():
        raise TrainingDataError("no study of the store has both an image and a label")
    split = assign_split(store.read_table("sex"), labels, store.read_table("age"), config.split)
    encoded = encode_labels(labels)
    data = digest(
        [[s, rows[s].sha256, str(label), str(part)] for s, label, part in zip(studies, labels, split, strict=True)]
    )
    name = f"{config.train.preset}-{digest([TRAIN_VERSION, asdict(config.train), asdict(config.explain), data])[:8]}"
    folder = models_path(cohort) / name
    trained = not folder.exists()
    if trained:
        workspace = folder.with_name(f".{name}.training")
        task = TrainTask(cohort.absolute(), folder.absolute(), workspace.absolute(), config, encoded, split, data)
        progress = Progress("train", config.train.epochs, "epochs", quiet=quiet)
        with driver.connect(cluster, workers=workers) as client:
            driver.run_one(client, train_on_worker, task, poll=lambda: _show(progress, workspace))
        _show(progress, workspace)
        progress.close()
        shutil.rmtree(workspace, ignore_errors=True)
    _add_group(store, name, folder, dict(zip(studies, map(str, split), strict=True)))
    store.write_table({"split": split.astype(object)})
    store.consolidate()
    return TrainSummary(name, folder, trained, _card(folder).metrics or {})


def explain_cohort(
    cohort: Path,
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
    store, ledger = Store(cohort), Ledger(cohort)
    name = model if model is not None else newest_model(store)
    folder = models_path(cohort) / name
    card = _card(folder)
    studies, quantified = _quantified(store)
    identity = {
        "version": EXPLAIN_VERSION,
        "parameters": asdict(config.explain),
        "upstream": {"weights": card.weights_sha256},
    }
    stage, value = f"explain/{name}", digest(identity)
    tasks = []
    for granule, first in enumerate(range(0, len(studies), store.granule_studies)):
        rows = tuple(quantified[study] for study in studies[first : first + store.granule_studies])
        members = digest([[row.study, row.status, dict(row.sha256)] for row in rows])[:8]
        key = GranuleKey(stage, value, granule, members)
        tasks.append(ExplainTask(
            cohort.absolute(), name, folder.absolute(), card.weights_sha256, config.explain, key, first, rows
        ))  # fmt: skip
    ledger.retire(stage, value, {task.key.name for task in tasks})
    _add_group(store, name, folder, {})
    store.set_attributes({"digest": value, **identity}, f"relevance/{name}")
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

            with driver.connect(cluster, workers=workers) as client:
                driver.run_tasks(
                    client,
                    explain_granule,
                    pending,
                    on_record=note,
                    on_lost=lambda task: [task],
                    on_accelerator=True,
                )
            progress.close()
    finally:
        folded = _fold(store, ledger, name, studies, [task.key for task in tasks], folder)
    return ExplainSummary(name, folded, sum(record.explained for record in records))


def newest_model(store: Store) -> str:
    """Name the model that was added last.

    Raises
    ------
    ModelError
        When the store has none.
    """
    if not store.models:
        raise ModelError("the store has no trained model", "Call `datbatch train COHORT` first.")
    return max(store.models, key=lambda name: str(store.model_attributes(name)["created"]))


def _quantified(store: Store) -> tuple[list[str], dict[str, Row]]:
    """Give the store's studies and their rows of the last imaging stage.

    Raises
    ------
    StoreError
        When imaging is not finished.
    """
    identity = store.attributes.get("stages", {}).get("quantify")
    ledger, studies = Ledger(store.path), store.studies
    keys = ledger.keys("quantify", identity["digest"]) if identity is not None else []
    rows = {row.study: row for key in keys for row in ledger.read(key) or ()}
    if not studies or any(study not in rows for study in studies):
        raise StoreError(
            "the imaging stages of the store are not finished", "Call `datbatch run ARCHIVE COHORT` first."
        )
    return studies, rows


def _card(folder: Path) -> ModelCard:
    try:
        return ModelCard.from_json((folder / CARD_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError("there is no trained model of that name beside the store") from error


def _add_group(store: Store, name: str, folder: Path, split: Mapping[str, str]) -> None:
    """Make the model's group; its split stands beside the model, for a later split of a grown cohort is another."""
    if split:
        (folder / SPLIT_FILE).write_text(canonical_json(split), encoding="utf-8")
    attributes: dict[str, Any] = {"card": _card(folder).to_json()}
    if name not in store.models:
        attributes["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    store.add_model(name, attributes)


def _fold(store: Store, ledger: Ledger, name: str, studies: list[str], keys: list[GranuleKey], folder: Path) -> int:
    rows = [row for key in keys for row in ledger.read(key) or ()]
    split = json.loads((folder / SPLIT_FILE).read_text(encoding="utf-8"))
    parts: npt.NDArray[Any] = np.asarray([split.get(study, "") for study in studies], dtype=object)
    columns = value_columns(schema.RELEVANCE_TABLE, studies, rows) | {"split": parts}
    store.write_table(columns, f"relevance/{name}")
    store.consolidate()
    return sum("probability" in row.values for row in rows)


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
        progress.advance(state["epochs"] - progress.done, note=note)
