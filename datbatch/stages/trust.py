"""`datbatch trust`: the driver's side of the tests of a model's relevance maps, from the store into the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.classifier.folder import ModelCard
from datbatch.cohort.attributes import model_card
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.ledger import GranuleKey
from datbatch.cohort.lock import writes
from datbatch.cohort.shard import VolumeReader
from datbatch.cohort.store import Store
from datbatch.cohort.training_set import quantified
from datbatch.config import Config, ExplainConfig, TrustConfig, canonical_json, digest, weights_depend_on
from datbatch.errors import DONE, GridMismatchError, ModelError, WorkerLostError
from datbatch.evaluation.trust import mean_estimate, summarise
from datbatch.location import Location
from datbatch.progress import Progress
from datbatch.relevance.stability import pairwise_rank_correlation, sign_agreement
from datbatch.stages.stage import Plan, Stage, Where, complete
from datbatch.study.relevance import HOTTEST, PUTAMEN
from datbatch.study.space import store_atlas, used_atlas
from datbatch.study.trust import TrustTask, striatal_masks, try_study

TRUST_VERSION = 1
MEAN_STUDIES = 32
"""Training studies of each class, at most, whose mean replaces flipped regions."""


@dataclass(frozen=True)
class TrustOutcome:
    """What was found about a model's maps."""

    model: str
    processed: int
    """Studies tried in this run; the others were kept."""
    summary: Mapping[str, Any]
    """As `trust_summary.summarise` gives it."""


@dataclass(frozen=True)
class _Maps:
    """One model's explained studies, in the store's order."""

    name: str
    card: ModelCard
    parameters: Mapping[str, Any]
    """Of the explanation."""
    digest: str
    """Of the explanation: weights, parameters and atlas."""
    sign: int
    predicted: npt.NDArray[Any]
    split: npt.NDArray[Any]
    putamen: npt.NDArray[np.float64]
    """Oriented relevance of the ipsilateral putamen."""


@writes
def try_maps(
    cohort: Location,
    config: Config,
    *,
    model: str | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> TrustOutcome:
    """Try whether a model's relevance maps can be trusted, on studies of its test set, and store what was found.

    A study that was tried with the same model and parameters is not tried again.

    Parameters
    ----------
    cohort : Path
        Folder of the store.
    config : Config
        Parameters; of them `trust`. The maps are tried with the parameters that they were made with.
    model : str, optional
        Name of an explained model; the newest by default.
    cluster, workers, quiet
        As for `run_imaging`.

    Raises
    ------
    WorkerLostError
        When workers end for want of memory.
    ModelError
        When the model or its maps are missing or of earlier uptake, or no labelled study of its test set was explained.
    GridMismatchError
        When the model is for another grid.
    ConfigurationError
        When a parameter of `trust` is out of its range.
    """
    # From Python come parameters that no file has checked.
    Config.from_dict({"trust": vars(config.trust)})
    opened = Cohort(cohort)
    stage = Trust(opened, config.trust, model if model is not None else opened.newest_model())
    tried = complete(stage, config, Where(cluster, workers, quiet))
    return TrustOutcome(stage.maps.name, len(tried), stage.summary)


class Trust(Stage[TrustTask, int]):
    """The tests of one model's maps, study by study.

    Parameters
    ----------
    cohort : Cohort
        In which the model explained its test set.
    config : TrustConfig
        How to try them.
    model : str
        Its name.
    """

    command = "trust"
    on_accelerator = True

    def __init__(self, cohort: Cohort, config: TrustConfig, model: str) -> None:
        super().__init__(cohort)
        self._config = config
        self.maps = _read_maps(cohort.store, model)
        self._labels = cohort.store.read_table("label").astype(str)
        usable = (self.maps.split == "test") & (self.maps.predicted != "")
        self._chosen = choose_studies(self._labels, usable, config)
        if not self._chosen:
            raise ModelError(
                "no labelled study of the model's test set has a relevance map", "Call `datbatch explain COHORT` first."
            )
        self._tasks = _tasks(cohort, self.maps, self._labels, self._chosen, config)
        self.summary: Mapping[str, Any] = {}
        """What is said of the model, once it is folded."""

    def plan(self) -> Plan[TrustTask]:
        """Find the studies that were not tried; those that an earlier call chose stay true."""
        return Plan.of(self.cohort.ledger, self._tasks, keep=True)

    def facts(self) -> dict[str, Any]:
        """Name the model."""
        return {"model": self.maps.name}

    @staticmethod
    def run(task: TrustTask) -> int:
        """Try the map of one study."""
        try_study(task)
        return 1

    def note(self, record: int, progress: Progress) -> None:
        """Count one study."""
        progress.advance(record)

    def on_lost(self, client: Any, task: TrustTask) -> list[TrustTask]:
        """End: a map that ends its worker alone would end the next one, too."""
        raise WorkerLostError(
            "a worker was lost again and again while it tried a map",
            "Look at the worker's memory: it holds the model's weights twice. What was tried is kept.",
        )

    def fold(self, *, complete: bool) -> None:
        """Join the studies' figures with what other networks say, and keep them with the model's maps."""
        store, maps, chosen = self.cohort.store, self.maps, self._chosen
        if not complete:
            return
        rows = list(self.cohort.ledger.rows([task.key for task in self._tasks]))
        repeats = _repeats(store, maps)
        content = [[row.to_dict() for row in rows], self._labels[chosen].tolist(), [one.digest for one in repeats]]
        value = digest(content)
        before = json.loads(store.model_attributes(maps.name).get("trust", "{}"))
        if before.get("digest") == value:
            self.summary = before["summary"]
            return
        atlas = store_atlas(store.path.absolute(), used_atlas(store))
        brain = atlas.mask("whole_brain")
        masks = striatal_masks(atlas, self._config.striatum_margin_mm)
        chance = {name: float(mask.sum() / brain.sum()) for name, mask in masks.items()}
        compared = compare_repeats(store, [maps, *repeats], self._labels, chosen, brain)
        studies = [(str(self._labels[at]), row.values) for at, row in zip(chosen, rows, strict=True)]
        self.summary = summarise(studies, chance, compared)
        kept = {"digest": value, "explain_digest": maps.digest, "parameters": asdict(self._config)}
        text = canonical_json(kept | {"summary": self.summary})
        store.set_attributes({"trust": text}, f"relevance/{maps.name}")
        store.consolidate()


def choose_studies(labels: npt.NDArray[np.str_], usable: npt.NDArray[np.bool_], config: TrustConfig) -> list[int]:
    """Choose studies by chance, half of them of each class; fewer where a class has fewer.

    With the same seed a larger choice contains a smaller one.

    Parameters
    ----------
    labels : ndarray of str, shape (study,)
        negative, positive or empty.
    usable : ndarray of bool, shape (study,)
        Which may be chosen.
    config : TrustConfig
        Of it `studies` and `seed`.

    Returns
    -------
    list of int
        Positions, rising.
    """
    chosen: list[int] = []
    for number, label in enumerate(schema.LABELS):
        members = np.flatnonzero(usable & (labels == label))
        order = np.random.default_rng([config.seed, number]).permutation(members)
        # An odd number leaves the one over to the positive studies.
        chosen += order[: (config.studies + number) // len(schema.LABELS)].tolist()
    return sorted(chosen)


def _read_maps(store: Store, name: str) -> _Maps:
    if name not in store.models:
        raise ModelError("the store has no explained model of that name", "Call `datbatch explain COHORT` first.")
    attributes, group = store.model_attributes(name), f"relevance/{name}"
    if "digest" not in attributes:
        raise ModelError("the model has explained no study yet", "Call `datbatch explain COHORT` first.")
    if attributes.get("stale"):
        raise ModelError("the model's maps explain earlier uptake", "Call `datbatch train` and `datbatch explain`.")
    card = model_card(attributes)
    if card.shape != schema.SHAPE:
        raise GridMismatchError(f"the model is for the grid {card.shape}, the store has {schema.SHAPE}")
    sign = 1 if card.orientation is None else int(card.orientation["sign"])
    return _Maps(
        name=name,
        card=card,
        parameters=attributes["parameters"],
        digest=attributes["digest"],
        sign=sign,
        predicted=store.read_table("predicted", group),
        split=store.read_table("split", group),
        putamen=sign * store.read_table("regional", group)[:, PUTAMEN, HOTTEST],
    )


def _tasks(
    cohort: Cohort, maps: _Maps, labels: npt.NDArray[np.str_], chosen: Sequence[int], config: TrustConfig
) -> list[TrustTask]:
    """Give the task of each study; its key covers the bytes of the uptake and of all that it is tried with."""
    studies, rows = quantified(cohort)
    images = [dict(rows[study].sha256) for study in studies]
    training = (maps.split == "train") & np.array([rows[study].outcome == DONE for study in studies])
    generator = np.random.default_rng([config.seed, 2])
    by_class = [generator.permutation(np.flatnonzero(training & (labels == label))) for label in schema.LABELS]
    replacement = tuple(tuple(sorted(one[:MEAN_STUDIES].tolist())) for one in by_class)
    used = {key: value for key, value in asdict(config).items() if key != "studies"}
    value = digest([TRUST_VERSION, maps.digest, maps.sign, used, [[images[at] for at in one] for one in replacement]])
    explain = ExplainConfig(**maps.parameters)
    return [
        TrustTask(
            store=cohort.path.absolute(),
            folder=cohort.folder(maps.name).path,
            weights_sha256=maps.card.weights_sha256,
            explain=explain,
            trust=config,
            sign=maps.sign,
            atlas=used_atlas(cohort.store),
            key=GranuleKey(f"trust/{maps.name}", value, at, digest([studies[at], images[at]])[:8]),
            study=studies[at],
            replacement=replacement,
        )
        for at in chosen
    ]


def _repeats(store: Store, maps: _Maps) -> list[_Maps]:
    """Find models that differ in nothing but the seed of their training, explained in the same way."""

    def alike(card: ModelCard) -> Any:
        train = weights_depend_on(card.config["train"]) | {"seed": None}
        return (card.data_digest, card.preset, train)

    found = []
    for name in store.models:
        try:
            other = _read_maps(store, name)
        except (ModelError, GridMismatchError):
            continue
        same = alike(other.card) == alike(maps.card) and other.parameters == maps.parameters
        if name != maps.name and same and other.card.weights_sha256 != maps.card.weights_sha256:
            found.append(other)
    return found


def compare_repeats(
    store: Store,
    models: Sequence[_Maps],
    labels: npt.NDArray[np.str_],
    chosen: Sequence[int],
    brain: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """Compare the maps of networks with other initial weights: of each study, and their means by class.

    Returns
    -------
    dict
        `reason` where there is no other network; else `models`, `single` (an `Estimate` over studies), `mean` by
        class, and `sign_agreement` of the oriented putamen relevance.
    """
    if len(models) < 2:
        return {"reason": "the store has no other explained model that differs in train.seed alone"}
    readers = [VolumeReader(store.path, f"relevance/{one.name}/{schema.RELEVANCE_MAP.name}") for one in models]
    sums = {label: np.zeros((len(models), int(brain.sum()))) for label in schema.LABELS}
    single = []
    for at in chosen:
        oriented = [one.sign * reader[at][brain] for one, reader in zip(models, readers, strict=True)]
        single.append(pairwise_rank_correlation(oriented))
        sums[str(labels[at])] += np.stack(oriented)
    return {
        "models": [one.name for one in models],
        "single": mean_estimate(single),
        # Ranks of a sum are those of the mean.
        "mean": {label: pairwise_rank_correlation(list(total)) for label, total in sums.items()},
        "sign_agreement": sign_agreement(np.array([one.putamen[list(chosen)] for one in models])),
    }
