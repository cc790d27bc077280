"""From raw projections to an image in patient coordinates."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from datbatch.errors import EmptyVolumeError
from datbatch.imaging.backprojection import back_project
from datbatch.imaging.filters import FilterName
from datbatch.imaging.volume import Volume


class Projections(Protocol):
    """What reconstruction needs of an acquisition (`datbatch.archive.Acquisition` has it)."""

    @property
    def projections(self) -> npt.NDArray[Any]:
        """Counts, shape (view, row, bin); row 0 at the head, bins along (-cos a, sin a, 0) in LPS."""
        ...

    @property
    def angles_deg(self) -> npt.NDArray[np.float64]:
        """Angles, shape (view,); 0 at the back, counter-clockwise seen from the feet."""
        ...

    @property
    def pixel_size_mm(self) -> float:
        """Size of a bin."""
        ...

    @property
    def row_size_mm(self) -> float:
        """Size of a row."""
        ...


def reconstruct(
    acquisition: Projections,
    *,
    filter: FilterName = "shepp-logan",  # noqa: A002
    cutoff_per_cm: float = 1.25,
) -> Volume:
    """Reconstruct a study by filtered back-projection (Nazari et al. 2022: Shepp-Logan, 1.25 cycles/cm).

    Neither attenuation nor scatter is corrected. Negative values are kept: the reconstruction is linear.

    Parameters
    ----------
    acquisition : Projections
        Raw projections with their angles and pixel sizes.
    filter : str
        Window multiplied with the ramp.
    cutoff_per_cm : float
        Cutoff in cycles/cm, whatever the pixel size.

    Returns
    -------
    Volume
        Shape (bin, bin, row). x and y are zero on the axis of rotation, z in the middle of the field of view; voxel
        indices grow towards right, anterior and superior. Counts per pixel; zero outside the field of view.

    Raises
    ------
    EmptyVolumeError
        When the projections hold no counts or values that are not finite.
    """
    if not acquisition.projections.any():
        raise EmptyVolumeError("the projections hold no counts")
    data = back_project(
        acquisition.projections[:, ::-1, :],
        acquisition.angles_deg,
        pixel_size_mm=acquisition.pixel_size_mm,
        cutoff_per_cm=cutoff_per_cm,
        filter=filter,
    )
    size_mm = np.array([acquisition.pixel_size_mm, acquisition.pixel_size_mm, acquisition.row_size_mm])
    affine = np.diag([*size_mm, 1.0])
    affine[:3, 3] = -size_mm * (np.array(data.shape) - 1) / 2.0
    return Volume(data, affine)
