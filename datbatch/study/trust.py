"""The task of `datbatch trust`: all tests of one study's relevance map, on a worker that holds the accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datbatch import schema
from datbatch.arrays import Bools, Floats, Floats32, Ints
from datbatch.classifier.model import Model
from datbatch.classifier.network import arrange, build_network, preset
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.shard import VolumeReader
from datbatch.config import ExplainConfig, TrustConfig
from datbatch.errors import DONE, ModelError
from datbatch.evaluation.outputs import log_odds, predicted_class
from datbatch.imaging import Atlas
from datbatch.location import Location
from datbatch.relevance import explain_batch
from datbatch.relevance.conservation import Balance, relevance_balance
from datbatch.relevance.flipping import block_regions, flip_counts, flipping_curve, relevance_order
from datbatch.relevance.localisation import relevance_mass, relevance_rank, widen
from datbatch.relevance.randomisation import cascade, map_similarity
from datbatch.relevance.regions import hottest_mean
from datbatch.relevance.similarity import correlation
from datbatch.relevance.stability import add_noise
from datbatch.study.relevance import VOXEL_ML, load_model_once
from datbatch.study.space import store_atlas


@dataclass(frozen=True)
class TrustTask:
    """One study of `datbatch trust`."""

    store: Location = field(repr=False)
    folder: Path = field(repr=False)
    """Of the model."""
    weights_sha256: str
    explain: ExplainConfig = field(repr=False)
    """Parameters that the maps in the store were made with."""
    trust: TrustConfig = field(repr=False)
    sign: int
    """Orientation of the model's relevance."""
    atlas: str
    """Digest of the store's atlas."""
    key: GranuleKey
    study: str = field(repr=False)
    replacement: tuple[tuple[int, ...], ...] = field(repr=False)
    """Positions of training studies by class, whose mean replaces flipped regions."""
    studies: int = 1
    """How many a task has."""


def try_study(task: TrustTask) -> int:
    """Try one study's map and record what was found in the ledger; gives the study's position."""
    model, atlas = load_model_once(task.folder), store_atlas(task.store, task.atlas)
    if model.card.weights_sha256 != task.weights_sha256:
        raise ModelError("the model was replaced while its maps were being tried")
    volume = VolumeReader(task.store, schema.UPTAKE.name)[task.key.granule]
    found = try_map(
        volume, model, atlas, task.explain, task.trust,
        sign=task.sign, replacement=mean_image(task.store, task.replacement), stream=task.key.granule,
    )  # fmt: skip
    Ledger(task.store).commit(task.key, [Row(task.study, DONE, found)])
    return task.key.granule


def try_map(
    volume: Floats32,
    model: Model,
    atlas: Atlas,
    explain: ExplainConfig,
    trust: TrustConfig,
    *,
    sign: int,
    replacement: Floats32,
    stream: int,
) -> dict[str, Any]:
    """Try the map of one study in every way; see the modules of `datbatch.relevance` for what each figure is.

    Parameters
    ----------
    volume : ndarray, shape (x, y, z), float32
        Normalised uptake.
    model, atlas, explain, trust
        What explains it, and how it is tried.
    sign : int
        Factor after which positive relevance speaks for the positive class.
    replacement : ndarray, shape (x, y, z), float32
        What flipped regions become.
    stream : int
        Number of the study: with `trust.seed` it seeds what is random.

    Returns
    -------
    dict
        JSON values; None where a figure is not defined.
    """
    images = _as_images(model.network, volume)
    balance = relevance_balance(model.network, images, target=explain.target, rules=explain.rules)
    logits = balance.explanation.logits.double().cpu().numpy()
    relevance, called = _map(balance.explanation.relevance), int(predicted_class(logits)[0])
    trial = _Trial(volume, relevance, called, model, atlas, explain, trust, sign, stream)
    return {
        "predicted": schema.LABELS[called],
        "conservation": _conserved(balance),
        "randomisation": trial.randomised(images),
        "flipping": trial.flipped(replacement),
        "localisation": trial.localised(),
        "noise": trial.noisy(),
    }


def _conserved(balance: Balance) -> dict[str, Any]:
    """Give each layer's sums as shares of the start."""
    start = float(balance.start[0])

    def share(values: Tensor) -> float | None:
        value = float(values[0])
        return value / start if start and np.isfinite(value) else None

    layers = [
        {
            "layer": one.layer,
            "kept": share(one.passed_on),
            "biases": share(one.biases),
            "stabilisers": share(one.stabilisers),
        }
        for one in balance.layers
    ]
    return {"layers": layers, "kept": share(balance.image)}


@dataclass(frozen=True)
class _Trial:
    """One study, its map, and all that the tests need."""

    volume: Floats32
    relevance: Floats32
    called: int
    """Class that was predicted."""
    model: Model
    atlas: Atlas
    explain: ExplainConfig
    trust: TrustConfig
    sign: int
    stream: int

    @property
    def speaking(self) -> Floats32:
        """Relevance for the class that was predicted, as the reader of the map is told."""
        return self.relevance * np.float32(self.sign if schema.LABELS[self.called] == schema.POSITIVE else -self.sign)

    @property
    def brain(self) -> Bools:
        return self.atlas.mask(schema.WHOLE_BRAIN)

    def randomised(self, images: Tensor) -> list[dict[str, Any]]:
        """Compare the map with those of the network while its layers are drawn anew."""
        # The output stays the same while the network forgets; otherwise two classes would be compared.
        target = schema.LABELS[self.called] if self.explain.target == "predicted" else self.explain.target
        card, device = self.model.card, next(self.model.network.parameters()).device
        found = []
        for name, network in cascade(
            self.model.network, drawn_network(card.preset, card.shape, self.trust.seed, device)
        ):
            other = _map(explain_batch(network, images, target=target, rules=self.explain.rules).relevance)
            found.append({"layer": name, **map_similarity(self.relevance, other, self.brain)})
        return found

    def flipped(self, replacement: Floats32) -> dict[str, Any]:
        """Give log odds of the predicted class along each order; those of random orders are averaged."""
        trust = self.trust
        regions = block_regions(self.brain, max(1, round(trust.block_mm / schema.SPACING_MM)))
        count = int(regions.max()) + 1
        counts = flip_counts(count, trust.flipping_steps)
        generator = np.random.default_rng([trust.seed, self.stream, 0])

        def curve(order: Ints) -> Floats:
            odds = log_odds(flipping_curve(self.model.network, self.volume, replacement, regions, order, counts))
            return odds if schema.LABELS[self.called] == schema.POSITIVE else -odds

        orders = {"relevance": self.speaking, "magnitude": np.abs(self.speaking)}
        curves = {name: curve(relevance_order(values, regions)) for name, values in orders.items()}
        curves["random"] = np.mean([curve(generator.permutation(count)) for _ in range(trust.random_orders)], axis=0)
        return {"shares": (counts / count).tolist(), **{name: values.tolist() for name, values in curves.items()}}

    def localised(self) -> dict[str, Any]:
        """Give mass and rank in the striatum and around it: of relevance for the decision, and of all magnitudes."""
        magnitude, speaking = np.abs(self.speaking), self.speaking
        found: dict[str, Any] = {}
        for name, mask in striatal_masks(self.atlas, self.trust.striatum_margin_mm).items():
            for kind, mass_of, rank_of in (
                ("positive", np.maximum(speaking, 0), speaking),
                ("absolute", magnitude, magnitude),
            ):
                found[f"{name}_{kind}"] = {"mass": relevance_mass(mass_of, mask), "rank": relevance_rank(rank_of, mask)}
        return found

    def noisy(self) -> dict[str, Any]:
        """Explain the study with extra noise, and compare maps, decisions and putamen relevance."""
        trust, network, brain = self.trust, self.model.network, self.brain
        region = self.atlas.hottest[schema.PUTAMEN]

        def putamen(one: Floats32) -> float:
            return self.sign * hottest_mean(one[region].astype(np.float64), self.explain.hottest_ml / VOXEL_ML)

        generator = np.random.default_rng([trust.seed, self.stream, 1])
        blur = {"fwhm_mm": trust.noise_fwhm_mm, "spacing_mm": schema.SPACING_MM}
        noisy = [add_noise(self.volume, trust.noise_share, generator, **blur) for _ in range(trust.noise_draws)]
        images = _as_images(network, *noisy)
        found = explain_batch(network, images, target=self.explain.target, rules=self.explain.rules)
        maps = list(found.relevance[:, 0].float().cpu().numpy())
        alike = [correlation(self.relevance[brain], one[brain]) for one in maps]
        known = [value for value in alike if value is not None]
        return {
            "correlation": float(np.mean(known)) if known else None,
            "putamen": putamen(self.relevance),
            "putamen_sd": float(np.std([putamen(one) for one in maps], ddof=1)) if len(maps) > 1 else None,
            "same_prediction": int((found.logits.argmax(dim=1) == self.called).sum()) / len(maps),
        }


def striatal_masks(atlas: Atlas, margin_mm: float) -> Mapping[str, Bools]:
    """Give the striatum (putamen and caudate of both sides) and the same with a margin, inside the brain."""
    striatum = np.any([atlas.mask(name) for name in atlas.hottest], axis=0)
    wider = widen(striatum, margin_mm, schema.SPACING_MM) & atlas.mask(schema.WHOLE_BRAIN)
    return {"striatum": striatum, "wider": wider}


@lru_cache(maxsize=1)
def drawn_network(name: str, shape: tuple[int, int, int], seed: int, device: torch.device) -> nn.Module:
    """Give a network with weights as training would start from, kept for the tasks that follow in this process."""
    return arrange(build_network(shape, pool=preset(name).pool, dropout=0.0, seed=seed), device).eval()


@lru_cache(maxsize=1)
def mean_image(store: Location, classes: tuple[tuple[int, ...], ...]) -> Floats32:
    """Give the mean image of training studies, in which each class counts the same.

    What a flipped region becomes should be nothing that the network never saw (Hooker et al. 2019, NeurIPS 32:9737):
    zeros or a flat value make holes, and a blur over 8 mm hardly changes images of that resolution. The mean brain is
    plausible at every voxel and lies between the classes.
    """
    images = VolumeReader(store, schema.UPTAKE.name)
    means = [np.mean([images[index] for index in members], axis=0, dtype=np.float64) for members in classes if members]
    return np.asarray(np.mean(means, axis=0), dtype=np.float32)


def _as_images(network: nn.Module, *volumes: Floats32) -> Tensor:
    return torch.from_numpy(np.stack(volumes)[:, None]).to(next(network.parameters()).device)


def _map(relevance: Tensor) -> Floats32:
    return np.asarray(relevance[0, 0].float().cpu().numpy())
