"""Inference and relevance of normalised volumes by a trained model: no store, no cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from datbatch import schema
from datbatch.arrays import Floats, Floats32
from datbatch.classifier.folder import ModelFolder
from datbatch.classifier.model import Model, load_model
from datbatch.classifier.network import choose_device
from datbatch.config import ExplainConfig
from datbatch.errors import ModelError
from datbatch.evaluation.outputs import log_odds, positive_probability, predicted_class
from datbatch.imaging import Atlas
from datbatch.relevance import explain_batch, inconsistent, region_statistics, round_mantissa
from datbatch.study.explained import ExplainedVolume

PUTAMEN = schema.REGIONS.index(schema.PUTAMEN)
HOTTEST = schema.STATISTICS.index(schema.HOTTEST_MEAN)
VOXEL_ML = schema.SPACING_MM**3 / 1000.0


def explain_volumes(
    volumes: Sequence[Floats32], model: Model, config: ExplainConfig, atlas: Atlas
) -> list[ExplainedVolume]:
    """Infer and explain normalised volumes of shape (x, y, z), float32.

    A `ModelError` says that the model was trained on another grid, or without an orientation of its relevance.
    """
    if model.card.shape != schema.SHAPE:
        raise ModelError(f"the model is for the grid {model.card.shape}, the volumes have {schema.SHAPE}")
    if model.card.orientation is None:
        raise ModelError(
            "the model's card does not say what the sign of its relevance means",
            "Train it with `datbatch train`, which learns that on the validation set.",
        )
    sign, threshold = model.card.orientation["sign"], model.card.orientation["threshold"]
    logits, relevance = propagate_volumes(model.network, volumes, config)
    regional = [regional_relevance(volume, config, atlas) for volume in relevance]
    oriented = [sign * statistics[PUTAMEN, HOTTEST] for statistics in regional]
    classes = predicted_class(logits)
    flags = inconsistent(oriented, classes, threshold)
    return [
        ExplainedVolume(
            relevance=round_mantissa(relevance[index], config.mantissa_bits),
            regional=regional[index],
            probability=float(positive_probability(logits)[index]),
            log_odds=float(log_odds(logits)[index]),
            predicted=schema.LABELS[int(classes[index])],
            inconsistent=bool(flags[index]),
            orientation=sign,
        )
        for index in range(len(volumes))
    ]


def load_model_once(folder: Path) -> Model:
    """Read a model, kept for what follows in this process until its card is replaced; on the accelerator if any."""
    card = ModelFolder(folder).card_file
    return _kept(folder.absolute(), card.stat().st_mtime_ns if card.is_file() else 0)


@lru_cache(maxsize=1)
def _kept(folder: Path, _: int) -> Model:
    model = load_model(folder)
    return replace(model, network=model.network.to(choose_device()))


def propagate_volumes(
    network: torch.nn.Module, volumes: Sequence[Floats32], config: ExplainConfig
) -> tuple[Floats32, Floats32]:
    """Give logits (study, 2) and relevance (study, x, y, z) of normalised volumes."""
    device = next(network.parameters()).device
    images = torch.from_numpy(np.stack(volumes)[:, None]).to(device)
    explained = explain_batch(network, images, target=config.target, rules=config.rules)
    return explained.logits.float().cpu().numpy(), explained.relevance[:, 0].float().cpu().numpy()


def regional_relevance(relevance: Floats32, config: ExplainConfig, atlas: Atlas) -> Floats:
    """Give the regional table; a striatal region's hottest voxels are sought where those of uptake are."""
    axes = [schema.coordinates_mm(axis) for axis in range(3)]
    sizes = {"hottest_ml": config.hottest_ml, "voxel_volume_ml": VOXEL_ML}
    regional = region_statistics(relevance, atlas.masks, axes, **sizes)
    for name, mask in atlas.hottest.items():
        in_large_region = region_statistics(relevance, mask[None], axes, **sizes)
        regional[schema.REGIONS.index(name), HOTTEST] = in_large_region[0, HOTTEST]
    return regional
