"""`datbatch explain`: inference and relevance of every study of a cohort, into the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from datbatch import schema
from datbatch.cohort.attributes import stored_card
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.lock import writes
from datbatch.cohort.shadow import fold_explained
from datbatch.cohort.store import Store
from datbatch.cohort.training_set import quantified
from datbatch.config import Config, ExplainConfig, canonical_json, digest
from datbatch.errors import DONE, ModelError
from datbatch.location import Location
from datbatch.progress import Progress
from datbatch.relevance import check_rules
from datbatch.stages.stage import Plan, Stage, Where, complete
from datbatch.study.imaging import EXPLAIN_VERSION
from datbatch.study.relevance import explain_volumes, load_model_once
from datbatch.study.space import store_atlas, used_atlas

STUDIES_TOGETHER = 8
"""Studies that are read and explained at once; relevance divides them further by its memory. A study's bits do not
depend on those beside it."""


@dataclass(frozen=True)
class ExplainSummary:
    """What explaining left."""

    model: str
    done: int
    """Studies with relevance in the store."""
    processed: int
    """Of them, computed in this run."""


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

    @property
    def studies(self) -> int:
        """Studies that have an image."""
        return sum(row.outcome == DONE for row in self.quantified)


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
    done = [index for index, row in enumerate(task.quantified) if row.outcome == DONE]
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
        Row(row.study, row.outcome, values.get(i, {}), {array: sha} if sha else {})
        for i, (row, sha) in enumerate(zip(task.quantified, hashes, strict=True))
    ]
    Ledger(task.store).commit(task.key, rows)
    return ExplainRecord(task.key.granule, len(values))


class Explain(Stage[ExplainTask, ExplainRecord]):
    """Inference and relevance by one model.

    Parameters
    ----------
    cohort : Cohort
        With the model beside its store.
    config : ExplainConfig
        How to explain.
    model : str
        Its name.
    """

    command = "explain"
    on_accelerator = True

    def __init__(self, cohort: Cohort, config: ExplainConfig, model: str) -> None:
        super().__init__(cohort)
        self._config, self.model = config, model
        self.card = cohort.folder(model).card()
        self.explained = 0
        """Studies with relevance in the store, once it is folded."""
        content = {"version": EXPLAIN_VERSION, "parameters": asdict(config), "weights": self.card.weights_sha256}
        self.digest = digest(content | {"atlas": used_atlas(cohort.store)})
        self._tasks = self._make_tasks()

    def _make_tasks(self) -> list[ExplainTask]:
        """Give the task of each granule; its key covers the bytes of the uptake that it explains."""
        store = self.cohort.store
        studies, done = quantified(self.cohort)
        tasks = []
        for granule, first in enumerate(range(0, len(studies), store.granule_studies)):
            rows = tuple(done[study] for study in studies[first : first + store.granule_studies])
            members = digest([[row.study, row.outcome.status, dict(row.sha256)] for row in rows])[:8]
            tasks.append(
                ExplainTask(
                    store=store.path.absolute(),
                    model=self.model,
                    folder=self.cohort.folder(self.model).path,
                    weights_sha256=self.card.weights_sha256,
                    config=self._config,
                    atlas=used_atlas(store),
                    key=GranuleKey(f"explain/{self.model}", self.digest, granule, members),
                    first=first,
                    quantified=rows,
                )
            )
        return tasks

    def plan(self) -> Plan[ExplainTask]:
        """Find the granules that are not explained."""
        return Plan.of(self.cohort.ledger, self._tasks)

    def facts(self) -> dict[str, Any]:
        """Name the model."""
        return {"model": self.model, "weights_sha256": self.card.weights_sha256}

    @property
    def tables(self) -> list[str]:
        """Name the columns that follow from explaining."""
        return [f"relevance/{self.model}/{one.name}" for one in schema.RELEVANCE_TABLE if one.is_folded]

    def begin(self) -> None:
        """Make the model's group."""
        add_model(self.cohort, self.model)
        attributes = {"digest": self.digest, "parameters": asdict(self._config)}
        self.cohort.store.set_attributes(attributes, f"relevance/{self.model}")

    @staticmethod
    def run(task: ExplainTask) -> ExplainRecord:
        """Explain one granule."""
        return explain_granule(task)

    def note(self, record: ExplainRecord, progress: Progress) -> None:
        """Count the explained studies."""
        progress.advance(record.explained)

    def fold(self, *, complete: bool) -> None:
        """Write the model's tables, and what a sign of these maps means."""
        store, group = self.cohort.store, f"relevance/{self.model}"
        # The split stands beside the model: a later split of a grown cohort is another.
        parts = self.cohort.folder(self.model).split()
        split = np.asarray([parts.get(study, "") for study in store.studies], dtype=object)
        store.write_table({"split": split}, group)
        learned = fold_explained(store, self.cohort.ledger, self.model)
        # Each row names the uptake that it explains: none is of an earlier one.
        store.set_attributes({"orientation": canonical_json(learned), "stale": False}, group)
        store.consolidate()
        self.explained = int((store.read_table("predicted", group) != "").sum())


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
    opened = Cohort(cohort)
    stage = Explain(opened, config.explain, model if model is not None else opened.newest_model())
    records = complete(stage, config, Where(cluster, workers, quiet))
    return ExplainSummary(stage.model, stage.explained, sum(record.explained for record in records))


def add_model(cohort: Cohort, name: str) -> None:
    """Make a model's group in the store, with a copy of its card, and say which uptake it was trained on."""
    attributes: dict[str, Any] = {
        "card": cohort.folder(name).card().to_json(),
        "quantify": cohort.digest_of("quantify"),
    }
    if name not in cohort.store.models:
        attributes["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    elif "orientation" not in (before := cohort.store.model_attributes(name)):
        # A store of an earlier version has what its maps mean in this copy of the card alone.
        attributes["orientation"] = canonical_json(stored_card(before).get("orientation") or {})
    cohort.store.add_model(name, attributes)
