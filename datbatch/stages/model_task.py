"""The tasks of workers that hold the accelerator: train a network, and infer and explain one granule."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datbatch import schema
from datbatch.classifier import (
    ModelCard,
    predict,
    save_model,
    train_network,
)
from datbatch.classifier.group import ALONE, joined
from datbatch.classifier.memory import available_memory
from datbatch.classifier.network import choose_device
from datbatch.classifier.train import Epoch
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.store import Store, VolumeReader
from datbatch.config import Config, ExplainConfig
from datbatch.errors import ModelError
from datbatch.evaluation.confusion import classification_metrics
from datbatch.evaluation.estimates import as_json
from datbatch.evaluation.outputs import predicted_class
from datbatch.files import write_whole
from datbatch.location import Location
from datbatch.relevance import learn_orientation, orienting_studies
from datbatch.study.relevance import (
    HOTTEST,
    PUTAMEN,
    explain_volumes,
    load_model_once,
    propagate_volumes,
    regional_relevance,
)
from datbatch.study.space import store_atlas
from datbatch.workers.group import Member

HISTORY_FILE = "history.json"
STUDIES_TOGETHER = 8
"""Studies that are read and explained at once; relevance divides them further by its memory. A study's bits do not
depend on those beside it."""


@dataclass(frozen=True)
class TrainTask:
    """What a worker needs to train one model."""

    store: Location = field(repr=False)
    folder: Path = field(repr=False)
    """Where the model goes."""
    workspace: Path = field(repr=False)
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
    task.workspace.mkdir(parents=True, exist_ok=True)

    def note(epoch: Epoch, _: int) -> None:
        state = {"epochs": epoch.epoch, "last": asdict(epoch)}
        write_whole(task.workspace / HISTORY_FILE, json.dumps(state).encode())

    cores = os.cpu_count() or 1
    memory = available_memory(choose_device()) // member.neighbours
    memory = min(memory, member.memory_bytes or memory)
    rendezvous = task.workspace / f"rendezvous-{member.meeting}"
    together = joined(rendezvous, rank=member.rank, size=member.size, host=member.host)
    with together if member.size > 1 else nullcontext(ALONE) as group:
        trained = train_network(
            images, task.labels, task.split, shape=schema.SHAPE, config=task.config.train,
            checkpoint=task.workspace / "checkpoint.safetensors", progress=note if member.rank == 0 else None,
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


@dataclass(frozen=True)
class ExplainTask:
    """One granule of `datbatch explain`."""

    store: Location = field(repr=False)
    model: str
    folder: Path = field(repr=False)
    weights_sha256: str
    config: ExplainConfig = field(repr=False)
    atlas: str
    """Digest of the store's atlas."""
    key: GranuleKey
    first: int
    """Position of the granule's first study in the store."""
    quantified: tuple[Row, ...] = field(repr=False)
    """Rows of the stage `quantify`, one per study of the granule."""


@dataclass(frozen=True)
class ExplainRecord:
    """What the driver hears of an explained granule."""

    granule: int
    explained: int


def explain_granule(task: ExplainTask) -> ExplainRecord:
    """Infer and explain the studies of a granule, write one shard, then the ledger object."""
    store = Store(task.store)
    model, atlas = load_model_once(task.folder), store_atlas(task.store, task.atlas)
    if model.card.weights_sha256 != task.weights_sha256:
        raise ModelError("the model was replaced while its studies were being explained")
    images = store.volumes()
    relevance = np.full((len(task.quantified), *schema.SHAPE), np.nan, dtype=np.float32)
    values: dict[int, Mapping[str, Any]] = {}
    done = [index for index, row in enumerate(task.quantified) if row.status == schema.DONE]
    for start in range(0, len(done), STUDIES_TOGETHER):
        some = done[start : start + STUDIES_TOGETHER]
        volumes = [images[task.first + index] for index in some]
        for index, explained in zip(some, explain_volumes(volumes, model, task.config, atlas), strict=True):
            relevance[index] = explained.relevance
            values[index] = {
                "probability": explained.probability,
                "log_odds": explained.log_odds,
                "predicted": explained.predicted,
                "regional": [[v if np.isfinite(v) else None for v in row] for row in explained.regional.tolist()],
            }
    array = f"relevance/{task.model}/{schema.RELEVANCE_MAP.name}"
    hashes = store.write_volumes(array, task.key.granule, relevance)
    rows = [
        Row(
            row.study,
            row.status,
            row.code,
            row.stage,
            row.reason,
            values.get(i, {}),
            {array: sha} if sha else {},
        )
        for i, (row, sha) in enumerate(zip(task.quantified, hashes, strict=True))
    ]
    Ledger(task.store).commit(task.key, rows)
    return ExplainRecord(task.key.granule, len(values))
