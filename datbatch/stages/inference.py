"""Log odds of any model for chosen studies, as stored or blurred; kept beside the model, so that none is made twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.classifier.folder import ModelFolder
from datbatch.cohort.envelope import unwrap, wrap
from datbatch.cohort.shard import VolumeReader
from datbatch.errors import ModelError
from datbatch.evaluation.outputs import log_odds
from datbatch.files import write_whole
from datbatch.location import Location
from datbatch.precision import products
from datbatch.study.relevance import load_model_once
from datbatch.workers import driver

BATCH = 8
"""Studies of one task: they pass the network together."""


@dataclass(frozen=True)
class InferTask:
    """Studies that a model is to see, at one or more blurs."""

    store: Location = field(repr=False)
    folder: Path = field(repr=False)
    """Of the model."""
    weights_sha256: str
    studies: tuple[int, ...]
    """Positions in the store."""
    blurs_fwhm_mm: tuple[float, ...]


@dataclass(frozen=True)
class InferRecord:
    """What a model says of them.

    Attributes
    ----------
    studies : tuple of int
        Positions in the store.
    blurs_fwhm_mm : tuple of float
        Extra blur.
    log_odds : tuple of tuple of float, shape (blur, study)
        Of the positive class.
    """

    studies: tuple[int, ...]
    blurs_fwhm_mm: tuple[float, ...]
    log_odds: tuple[tuple[float, ...], ...]


def infer_on_worker(task: InferTask) -> InferRecord:
    """Read the studies once, blur them by each width and run the network over them."""
    import torch

    model = load_model_once(task.folder)
    if model.card.weights_sha256 != task.weights_sha256:
        raise ModelError("the model was replaced while it was being evaluated")
    if model.card.shape != schema.SHAPE:
        raise ModelError(f"the model is for the grid {model.card.shape}, the volumes have {schema.SHAPE}")
    reader = VolumeReader(task.store, schema.UPTAKE.name)
    volumes = [reader[index] for index in task.studies]
    device = next(model.network.parameters()).device
    found = []
    for fwhm_mm in task.blurs_fwhm_mm:
        batch = torch.from_numpy(np.stack([blurred(volume, fwhm_mm) for volume in volumes])[:, None])
        with torch.inference_mode(), products():
            logits = model.network(batch.to(device)).float().cpu().numpy()
        found.append(tuple(log_odds(logits).tolist()))
    return InferRecord(task.studies, task.blurs_fwhm_mm, tuple(found))


def blurred(volume: npt.NDArray[np.float32], fwhm_mm: float) -> npt.NDArray[np.float32]:
    """Blur a volume of the store's grid with a Gaussian, shape (x, y, z); at the edges it is renormalised."""
    if fwhm_mm == 0:
        return volume
    from datbatch.imaging.registration.smoothing import smooth_and_thin
    from datbatch.imaging.volume import Volume

    return smooth_and_thin(Volume(volume, schema.grid_affine()), fwhm_mm, schema.SPACING_MM).data


def infer(
    client: Callable[[], Any],
    store: Location,
    folder: Path,
    weights_sha256: str,
    hashes: Mapping[int, str],
    blurs_fwhm_mm: Sequence[float] = (0.0,),
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> dict[float, dict[int, float]]:
    """Give a model's log odds for studies at each blur; what stands beside the model is not computed again.

    Parameters
    ----------
    client : callable
        Gives a client of the cluster; only called when something is to be computed.
    store, folder : Path
        Of the cohort and of the model.
    weights_sha256 : str
        Of the model.
    hashes : mapping of int to str
        SHA-256 of the uptake of each wanted study, by its position in the store.
    blurs_fwhm_mm : sequence of float
        Extra blur, full width at half maximum.
    on_progress : callable
        Is given the number of studies that have just been done.
    """
    path = ModelFolder(folder).inference_file
    kept = _read(path, weights_sha256)
    key = {index: f"{index}:{sha[:16]}" for index, sha in hashes.items()}
    names = [f"{fwhm:g}" for fwhm in blurs_fwhm_mm]
    todo = [index for index in hashes if any(key[index] not in kept.get(name, {}) for name in names)]
    if todo:
        tasks = [
            InferTask(store, folder, weights_sha256, tuple(todo[first : first + BATCH]), tuple(blurs_fwhm_mm))
            for first in range(0, len(todo), BATCH)
        ]

        def note(record: InferRecord) -> None:
            for fwhm, row in zip(record.blurs_fwhm_mm, record.log_odds, strict=True):
                kept.setdefault(f"{fwhm:g}", {}).update(
                    {key[index]: value for index, value in zip(record.studies, row, strict=True)}
                )
            write_whole(path, wrap(path.name, {"weights": weights_sha256, "log_odds": kept}))
            on_progress(len(record.studies))

        driver.run_tasks(
            client(), infer_on_worker, tasks, on_record=note, on_lost=lambda task: [task], on_accelerator=True
        )
    return {
        fwhm: {index: kept[name][key[index]] for index in hashes}
        for fwhm, name in zip(blurs_fwhm_mm, names, strict=True)
    }


def _read(path: Path, weights_sha256: str) -> dict[str, dict[str, float]]:
    try:
        found = unwrap(path.name, path.read_bytes())
        return dict(found["log_odds"]) if found["weights"] == weights_sha256 else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
