"""A picture of one study as acquired: uptake and relevance in slices through the striatum."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure

from datbatch.files import write_whole
from datbatch.report.parts.figures import TEXT, show_plane, to_png
from datbatch.report.parts.planes import (
    Convention,
    patient_marks,
    store_volume,
    symmetric_limits,
    transaxial_plane,
    uptake_limits,
)

HEIGHTS_MM = (-4.0, 2.0, 8.0)
"""Slices through the putamen and the caudate nucleus."""


class Explanation(Protocol):
    """What the picture needs of one explained study (`study.explain.StudyExplanation` has it)."""

    @property
    def uptake(self) -> npt.NDArray[np.float32]:
        """Shape (x, y, z), in the store's frame."""

    @property
    def relevance(self) -> npt.NDArray[np.float32]:
        """Shape (x, y, z), in the store's frame."""

    @property
    def mirrored(self) -> bool:
        """Whether left and right were exchanged."""

    @property
    def predicted(self) -> str:
        """Negative or positive."""

    @property
    def probability(self) -> float:
        """Of the positive class."""

    @property
    def inconsistent(self) -> bool:
        """Whether the map is typical of the class that was not predicted."""


def draw_study(study: Explanation, *, sign: float, convention: Convention) -> bytes:
    """Draw uptake above relevance in three transaxial slices, with the patient's own left and right.

    Mirroring is undone: a reader of one study expects the patient's left on the side that the convention says.

    Parameters
    ----------
    study : Explanation
        The study.
    sign : float
        Orientation of the model's relevance, +1 or -1.
    convention : {"radiological", "neurological"}
        Side on which x < 0 is shown.

    Returns
    -------
    bytes
        PNG.
    """
    # The grid is symmetric about x = 0, so that a flip is exact.
    step = -1 if study.mirrored else 1
    volumes = (store_volume(study.uptake[::step]), store_volume(sign * study.relevance[::step]))
    planes = [[transaxial_plane(volume, z_mm, convention) for z_mm in HEIGHTS_MM] for volume in volumes]
    limits = (
        uptake_limits([plane.image for plane in planes[0]]),
        symmetric_limits([plane.image for plane in planes[1]]),
    )
    marks = patient_marks(study.mirrored)
    doubt = ", relevance map inconsistent" if study.inconsistent else ""
    with rc_context(TEXT):
        figure = Figure(figsize=(8.2, 6.6), layout="constrained")
        figure.suptitle(f"{study.predicted} (probability of positive {study.probability:.2f}){doubt}")
        grid = figure.subplots(2, 3)
        rows = (("uptake", "uptake / reference"), ("relevance", "relevance (oriented)"))
        for row, (kind, label) in enumerate(rows):
            for column, z_mm in enumerate(HEIGHTS_MM):
                drawn = show_plane(
                    grid[row, column],
                    planes[row][column],
                    marks,
                    limits=limits[row],
                    kind="uptake" if kind == "uptake" else "relevance",
                )
                grid[row, column].set_title(f"z = {z_mm:g} mm", size=9)
            figure.colorbar(drawn, ax=list(grid[row]), label=label, shrink=0.8, aspect=18)
        figure.supxlabel(
            f"{convention} convention; L, R: the patient's sides; I: ipsilateral (lower binding), C: "
            "contralateral. Research software, not a medical device.",
            size=8,
        )
        return to_png(figure)


def write_study_picture(
    study: Explanation, path: Path, *, sign: float = 1.0, convention: Convention = "radiological"
) -> Path:
    """Write the picture of one explained study as PNG.

    Parameters
    ----------
    study : Explanation
        As `study.explain.explain_study` gives it.
    path : Path
        File to write; replaced as a whole or not at all.
    sign : float
        Orientation of the model's relevance, from its card.
    convention : {"radiological", "neurological"}
        Side on which x < 0 is shown.

    Returns
    -------
    Path
        `path`.
    """
    return write_whole(path, draw_study(study, sign=sign, convention=convention))
