"""One study of a cohort on matplotlib axes, with its sides marked: for notebooks and figures of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import xarray
from matplotlib import rc_context
from matplotlib.figure import Figure

from datbatch.report.parts.figures import TEXT, show_plane
from datbatch.report.parts.planes import (
    Convention,
    patient_marks,
    store_volume,
    study_marks,
    symmetric_limits,
    transaxial_plane,
    uptake_limits,
)
from datbatch.report.study.figure import HEIGHTS_MM

LABELS = {"uptake": "uptake / reference", "relevance": "relevance (oriented)"}


def draw(
    volumes: Mapping[str, xarray.DataArray],
    *,
    mirrored: bool,
    acquired: bool,
    title: str = "",
    z_mm: Sequence[float] = HEIGHTS_MM,
    convention: Convention = "radiological",
    figure: Figure | None = None,
) -> npt.NDArray[np.object_]:
    """Draw one row of transaxial slices for each volume.

    Parameters
    ----------
    volumes : mapping of str to DataArray, dimensions (x, y, z)
        `uptake`, `relevance` or both, on the store's grid. Only now are they read.
    mirrored : bool
        Whether left and right were exchanged when the study was stored.
    acquired : bool
        Whether the volumes are in the patient's own frame, or in the store's.
    title : str
        Above all.
    z_mm : sequence of float
        Heights of the slices, MNI.
    convention : {"radiological", "neurological"}
        Whether x < 0 is shown on the right or the left.
    figure : Figure, optional
        Drawn into; a new one of pyplot by default.

    Returns
    -------
    ndarray of Axes, shape (kind, slice)
        In the order of `volumes` and `z_mm`.
    """
    marks = patient_marks(mirrored) if acquired else study_marks(mirrored)
    with rc_context(TEXT):
        if figure is None:
            figure = plt.figure(figsize=(2.4 * len(z_mm) + 1.0, 2.9 * len(volumes) + 0.6), layout="constrained")
        grid = figure.subplots(len(volumes), len(z_mm), squeeze=False)
        for row, (kind, values) in zip(grid, volumes.items(), strict=True):
            volume = store_volume(values.transpose("x", "y", "z").to_numpy())
            planes = [transaxial_plane(volume, height, convention) for height in z_mm]
            images = [plane.image for plane in planes]
            limits = uptake_limits(images) if kind == "uptake" else symmetric_limits(images)
            palette = cast(Literal["uptake", "relevance"], kind)
            for axes, plane, height in zip(row, planes, z_mm, strict=True):
                drawn = show_plane(axes, plane, marks, limits=limits, kind=palette)
                axes.set_title(f"z = {height:g} mm", size=9)
            figure.colorbar(drawn, ax=list(row), label=LABELS[kind], shrink=0.8, aspect=18)
        figure.suptitle(title, size=10)
        figure.supxlabel("Research software, not a medical device.", size=7)
    return cast("npt.NDArray[np.object_]", grid)
