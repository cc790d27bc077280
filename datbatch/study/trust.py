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
    # What the reader of the map is told speaks for the class that was predicted.
    speaking = relevance * np.float32(sign if schema.LABELS[called] == schema.POSITIVE else -sign)
    brain = atlas.mask("whole_brain")
    return {
        "predicted": schema.LABELS[called],
        "conservation": _conserved(balance),
        "randomisation": _randomised(images, relevance, called, model, explain, trust, brain),
        "flipping": _flipped(volume, replacement, speaking, called, model.network, trust, brain, stream),
        "localisation": _localised(speaking, atlas, trust),
        "noise": _noisy(volume, relevance, called, model.network, atlas, explain, trust, sign, stream),
    }


def _conserved(balance: Balance) -> dict[str, Any]:
    """Give each layer's sums as shares of the start."""
    start = float(balance.start[0])

    def share(values: Tensor) -> float | None:
        value = float(values[0])
        return value / start if start and np.isfinite(value) else None

    layers = [
        {
            "layer": layer.layer,
            "kept": share(layer.passed_on),
            "biases": share(layer.biases),
            "stabilisers": share(layer.stabilisers),
        }
        for layer in balance.layers
    ]
    return {"layers": layers, "kept": share(balance.image)}


def _randomised(
    images: Tensor,
    relevance: Floats32,
    called: int,
    model: Model,
    explain: ExplainConfig,
    trust: TrustConfig,
    brain: Bools,
) -> list[dict[str, Any]]:
    # The output stays the same while the network forgets, or two classes would be compared.
    target = schema.LABELS[called] if explain.target == "predicted" else explain.target
    device = next(model.network.parameters()).device
    drawn = drawn_network(model.card.preset, model.card.shape, trust.seed, device)
    found = []
    for name, network in cascade(model.network, drawn):
        other = _map(explain_batch(network, images, target=target, rules=explain.rules).relevance)
        found.append({"layer": name, **map_similarity(relevance, other, brain)})
    return found


def _flipped(
    volume: Floats32,
    replacement: Floats32,
    speaking: Floats32,
    called: int,
    network: nn.Module,
    trust: TrustConfig,
    brain: Bools,
    stream: int,
) -> dict[str, Any]:
    """Give log odds of the predicted class along each order; those of random orders are averaged."""
    regions = block_regions(brain, max(1, round(trust.block_mm / schema.SPACING_MM)))
    count = int(regions.max()) + 1
    counts = flip_counts(count, trust.flipping_steps)
    generator = np.random.default_rng([trust.seed, stream, 0])

    def curve(order: Ints) -> Floats:
        odds = log_odds(flipping_curve(network, volume, replacement, regions, order, counts))
        return odds if schema.LABELS[called] == schema.POSITIVE else -odds

    orders = {"relevance": speaking, "magnitude": np.abs(speaking)}
    curves = {name: curve(relevance_order(values, regions)) for name, values in orders.items()}
    curves["random"] = np.mean([curve(generator.permutation(count)) for _ in range(trust.random_orders)], axis=0)
    return {"shares": (counts / count).tolist(), **{name: values.tolist() for name, values in curves.items()}}


def _localised(speaking: Floats32, atlas: Atlas, trust: TrustConfig) -> dict[str, Any]:
    """Give mass and rank in the striatum and around it, of what speaks for the decision and of all magnitudes."""
    found: dict[str, Any] = {}
    values = {"positive": np.maximum(speaking, 0), "absolute": np.abs(speaking)}
    for name, mask in striatal_masks(atlas, trust.striatum_margin_mm).items():
        for kind, one in values.items():
            rank_of = speaking if kind == "positive" else one
            found[f"{name}_{kind}"] = {"mass": relevance_mass(one, mask), "rank": relevance_rank(rank_of, mask)}
    return found


def striatal_masks(atlas: Atlas, margin_mm: float) -> Mapping[str, Bools]:
    """Give the striatum (putamen and caudate of both sides) and the same with a margin, inside the brain."""
    names = [f"{structure}_{side}" for structure in ("putamen", "caudate") for side in schema.SIDES]
    striatum = np.any([atlas.mask(name) for name in names], axis=0)
    wider = widen(striatum, margin_mm, schema.SPACING_MM) & atlas.mask("whole_brain")
    return {"striatum": striatum, "wider": wider}


def _noisy(
    volume: Floats32,
    relevance: Floats32,
    called: int,
    network: nn.Module,
    atlas: Atlas,
    explain: ExplainConfig,
    trust: TrustConfig,
    sign: int,
    stream: int,
) -> dict[str, Any]:
    brain, region = atlas.mask("whole_brain"), atlas.hottest["putamen_ipsilateral"]

    def putamen(one: Floats32) -> float:
        return sign * hottest_mean(one[region].astype(np.float64), explain.hottest_ml / VOXEL_ML)

    generator = np.random.default_rng([trust.seed, stream, 1])
    blur = {"fwhm_mm": trust.noise_fwhm_mm, "spacing_mm": schema.SPACING_MM}
    noisy = [add_noise(volume, trust.noise_share, generator, **blur) for _ in range(trust.noise_draws)]
    found = explain_batch(network, _as_images(network, *noisy), target=explain.target, rules=explain.rules)
    maps = list(found.relevance[:, 0].float().cpu().numpy())
    same = int((found.logits.argmax(dim=1) == called).sum())
    alike = [correlation(relevance[brain], one[brain]) for one in maps]
    known = [value for value in alike if value is not None]
    return {
        "correlation": float(np.mean(known)) if known else None,
        "putamen": putamen(relevance),
        "putamen_sd": float(np.std([putamen(one) for one in maps], ddof=1)) if len(maps) > 1 else None,
        "same_prediction": same / len(maps),
    }


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
