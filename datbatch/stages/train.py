"""`datbatch train`: split and training of a network, on workers that hold the accelerator."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datbatch import schema
from datbatch.classifier import encode_labels, predict, save_model, train_network
from datbatch.classifier.folder import ModelCard, Workspace
from datbatch.classifier.group import ALONE, joined
from datbatch.classifier.memory import available_memory
from datbatch.classifier.network import choose_device
from datbatch.classifier.train import Epoch
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.lock import writes
from datbatch.cohort.record import CommandRecord
from datbatch.cohort.shard import VolumeReader
from datbatch.cohort.store import Store, models_path
from datbatch.cohort.training_set import positive_share, training_set
from datbatch.config import Config, digest, weights_depend_on
from datbatch.errors import TrainingDataError
from datbatch.evaluation.confusion import classification_metrics
from datbatch.evaluation.estimates import as_json
from datbatch.evaluation.outputs import predicted_class
from datbatch.location import Location
from datbatch.progress import Progress
from datbatch.relevance import check_rules, learn_orientation, orienting_studies
from datbatch.stages.explain import Explain, add_model
from datbatch.stages.planning import PlannedStage, changed_keys
from datbatch.stages.stage import Where, Whole, settle
from datbatch.study.imaging import TRAIN_VERSION
from datbatch.study.relevance import HOTTEST, PUTAMEN, propagate_volumes, regional_relevance
from datbatch.study.space import as_imaged, keep_in_model, store_atlas, used_atlas
from datbatch.workers import driver
from datbatch.workers.cluster_file import ACCELERATOR
from datbatch.workers.group import Member, run_group


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
class TrainTask:
    """What a worker needs to train one model."""

    store: Location = field(repr=False)
    folder: Path = field(repr=False)
    """Where the model goes."""
    workspace: Workspace = field(repr=False)
    """Where checkpoint and history stand while it trains."""
    config: Config = field(repr=False)
    """Imaging parameters as the store records them."""
    labels: npt.NDArray[np.int64] = field(repr=False)
    split: npt.NDArray[np.str_] = field(repr=False)
    data_digest: str
    atlas: str
    """Digest of the store's atlas."""
    studies: tuple[str, ...] = field(repr=False)
    """Pseudonyms, for an error that concerns some of them."""
    positive_share: npt.NDArray[np.float64] | None = field(repr=False)
    """Soft labels: share of positive reads by study; None for the labels as they are."""


def train_on_worker(task: TrainTask, member: Member) -> dict[str, Any]:
    """Train, orient the relevance, evaluate, and save the model; returns the card.

    Of several that train together, the first does what follows the training; the others return nothing of the card.
    """
    images = VolumeReader(task.store, schema.UPTAKE.name)
    task.workspace.path.mkdir(parents=True, exist_ok=True)

    def note(epoch: Epoch, _: int) -> None:
        task.workspace.write_progress({"epochs": epoch.epoch, "last": asdict(epoch)})

    cores = os.cpu_count() or 1
    memory = available_memory(choose_device()) // member.neighbours
    memory = min(memory, member.memory_bytes or memory)
    rendezvous = task.workspace.path / f"rendezvous-{member.meeting}"
    together = joined(rendezvous, rank=member.rank, size=member.size, host=member.host)
    with together if member.size > 1 else nullcontext(ALONE) as group:
        trained = train_network(
            images, task.labels, task.split, shape=schema.SHAPE, config=task.config.train,
            checkpoint=task.workspace.checkpoint_file, progress=note if member.rank == 0 else None,
            threads=max(1, cores // member.neighbours), group=group, memory_bytes=memory,
            names=task.studies, positive_share=task.positive_share,
        )  # fmt: skip
    if member.rank > 0:
        return {}
    torch.set_num_threads(cores)
    card = ModelCard(
        preset=task.config.train.preset,
        shape=schema.SHAPE,
        config=task.config.to_stored_dict(),
        data_digest=task.data_digest,
        history=tuple(asdict(epoch) for epoch in trained.history),
        overfitting_since=trained.overfitting_since,
        metrics={name: _evaluate(trained.network, images, task, name) for name in ("validation", "test")},
        orientation=_orient(trained.network, images, task),
    )
    network = trained.network.cpu()
    return asdict(save_model(task.folder, network, card).card)


def _evaluate(network: torch.nn.Module, images: VolumeReader, task: TrainTask, name: str) -> dict[str, Any]:
    members = np.flatnonzero((task.split == name) & (task.labels >= 0))
    logits = predict(network, images, members, shape=schema.SHAPE)
    evaluated: dict[str, Any] = as_json(classification_metrics(task.labels[members], predicted_class(logits)))
    return evaluated


def _orient(network: torch.nn.Module, images: VolumeReader, task: TrainTask) -> dict[str, Any]:
    members = np.flatnonzero(orienting_studies(task.split, task.labels))
    atlas = store_atlas(task.store, task.atlas)
    values = []
    for index in members:
        _, relevance = propagate_volumes(network, [images[int(index)]], task.config.explain)
        values.append(regional_relevance(relevance[0], task.config.explain, atlas)[PUTAMEN, HOTTEST])
    return asdict(learn_orientation(np.asarray(values), task.labels[members]))


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
    opened = Cohort(cohort)
    step = Train(opened, as_imaged(opened.store, config), Where(cluster, workers, quiet))
    found = settle(step)
    step.show()
    return found


class Train(Whole["TrainSummary"]):
    """The model that parameters and data call for.

    Parameters
    ----------
    cohort : Cohort
        With labelled studies.
    config : Config
        Parameters, those of imaging as the store has them.
    where : Where
        Where to train.
    """

    command = "train"

    def __init__(self, cohort: Cohort, config: Config, where: Where) -> None:
        super().__init__(cohort, config)
        self._where, self._wanted = where, _wanted_model(cohort, config)
        self._folder = cohort.folder(self._wanted.name)

    def standing(self) -> TrainSummary | None:
        """Give the model of that name: it covers parameters and data."""
        return self._summary(trained=False) if self._folder.path.exists() else None

    def facts(self) -> dict[str, Any]:
        """Name the model and its data."""
        return {"model": self._wanted.name, "data": self._wanted.data}

    def make(self, record: CommandRecord) -> TrainSummary:
        """Train on the group of workers."""
        wanted, folder, config, where = self._wanted, self._folder, self.config, self._where
        task = TrainTask(
            self.cohort.path.absolute(),
            folder.path,
            folder.workspace,
            config,
            wanted.labels,
            wanted.split,
            wanted.data,
            used_atlas(self.cohort.store),
            tuple(wanted.studies),
            wanted.shares,
        )
        together = max(1, config.train.processes)
        progress = record.watch(Progress(self.command, config.train.epochs, "epochs", quiet=where.quiet))
        with driver.connect(where.cluster, workers=where.workers or together, resource=ACCELERATOR) as client:
            run_group(client, train_on_worker, task, size=together, poll=partial(_show, progress, folder.workspace))
        _show(progress, folder.workspace)
        progress.close()
        return self._summary(trained=True)

    def show(self) -> None:
        """Let the store show the model; also what a call left undone that was killed after the training."""
        wanted, folder, store = self._wanted, self._folder, self.cohort.store
        shutil.rmtree(folder.workspace.path, ignore_errors=True)
        folder.write_split(dict(zip(wanted.studies, map(str, wanted.split), strict=True)))
        keep_in_model(folder, self.cohort.path.absolute(), self.config)
        add_model(self.cohort, wanted.name)
        store.write_table({"split": wanted.split.astype(object)})
        store.consolidate()

    def _summary(self, *, trained: bool) -> TrainSummary:
        folder = models_path(self.cohort.path) / self._wanted.name
        return TrainSummary(folder.name, folder, trained, self._folder.card().metrics or {})


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


def _wanted_model(cohort: Cohort, config: Config) -> _Wanted:
    store = cohort.store
    studies, rows, labels, split = training_set(cohort, config.split)
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
    opened = Cohort(cohort)
    try:
        wanted = _wanted_model(opened, config)
    except TrainingDataError as error:
        reason = f"not possible: {error.reason}"
        return PlannedStage("train", 0, 0, reason), PlannedStage("explain", 0, 0, reason)
    labelled = int((wanted.labels >= 0).sum())
    if not opened.folder(wanted.name).path.exists():
        train = PlannedStage("train", labelled, 0, _why_train(opened, config))
        return train, PlannedStage("explain", included, 0, "train changes")
    train = PlannedStage("train", 0, labelled, "up to date")
    todo = Explain(opened, config.explain, wanted.name).plan().studies
    before = opened.store.model_attributes(wanted.name).get("parameters", asdict(config.explain))
    changes = changed_keys(before, asdict(config.explain))
    reason = "; ".join(changes) or f"{todo} studies are new, changed or not finished" if todo else "up to date"
    return train, PlannedStage("explain", todo, included - todo, reason)


def _why_train(cohort: Cohort, config: Config) -> str:
    if not cohort.store.models:
        return "not run before"
    before = cohort.folder(cohort.newest_model()).card().config
    trained, wanted = weights_depend_on(before["train"]), weights_depend_on(asdict(config.train))
    changes = changed_keys(trained, wanted) + changed_keys(before["split"], asdict(config.split))
    return "; ".join(changes) or "the studies, their labels or their uptake changed"


def _show(progress: Progress, workspace: Workspace) -> None:
    state = workspace.progress()
    if state is not None and state["epochs"] > progress.done:
        last = state["last"]
        note = f"loss {last['train_loss']:.3f}"
        if last["validation_loss"] is not None:
            note += f", validation {last['validation_loss']:.3f} ({100 * last['validation_accuracy']:.0f} % right)"
        progress.reach(state["epochs"], note=note)
