"""The template in MNI space: the one that ships with the package, and how to build another."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datbatch.cohort import schema
from datbatch.errors import EmptyVolumeError, NormalisationError
from datbatch.files import write_whole
from datbatch.imaging.atlas import region_masks
from datbatch.imaging.quantify import scale_to_reference
from datbatch.imaging.register import register_affine
from datbatch.imaging.resample import inverse, resample
from datbatch.imaging.volume import Volume

_Pose = npt.NDArray[np.float64]
"""Template mm to study mm, shape (4, 4)."""
_SHIPPED = "data/template.nii.gz"
_HIGHEST_INTEGER = 4095
"""Stored values are integers up to this: finer than the template's own noise, and small when compressed."""


@lru_cache(maxsize=1)
def load_template() -> Volume:
    """Load the template that ships with the package: the mean of simulated normal studies on the store's grid.

    Returns
    -------
    Volume
        Shape `schema.SHAPE`; 1 is the level of the reference region; read-only.
    """
    with resources.as_file(resources.files("datbatch.imaging").joinpath(_SHIPPED)) as path:
        return read_template(path)


def read_template(path: Path) -> Volume:
    """Read a template from a NIfTI file.

    Raises
    ------
    EmptyVolumeError
        When the file cannot be read, is not three-dimensional, or is empty.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        data = np.ascontiguousarray(image.get_fdata(dtype=np.float32))
    except (OSError, ValueError, EOFError, ImageFileError) as error:
        raise EmptyVolumeError(f"the template cannot be read ({type(error).__name__})") from error
    if data.ndim != 3 or not np.isfinite(data).all() or data.min() == data.max():
        raise EmptyVolumeError(f"the template of shape {data.shape} is no finite, three-dimensional image")
    data.setflags(write=False)
    return Volume(data, np.asarray(image.affine, np.float64))


def write_template(template: Volume, path: Path) -> None:
    """Write a template as compressed NIfTI of 16-bit integers; equal templates give equal bytes.

    Parameters
    ----------
    template : Volume
        Image in MNI space.
    path : Path
        File name ending in `.nii.gz`.
    """
    import nibabel

    slope = float(template.data.max()) / _HIGHEST_INTEGER
    image = nibabel.Nifti1Image(np.rint(template.data / slope).astype(np.int16), template.affine)
    image.header.set_slope_inter(slope, 0.0)
    image.header.set_xyzt_units("mm")
    image.header["sform_code"] = image.header["qform_code"] = 4
    buffer = io.BytesIO()
    image.to_stream(buffer)
    write_whole(path, gzip.compress(buffer.getvalue(), compresslevel=9, mtime=0))


def build_template(
    volumes: Sequence[Volume],
    start: Volume,
    rounds: int = 3,
    progress: Callable[[int, float], None] | None = None,
) -> Volume:
    """Build a template from normal studies: group-wise, each round registers all to the mean of the last.

    What all studies move on average since they were registered to `start` is taken out, so that the mean cannot drift
    away from MNI space. Registrations that fail are left out.

    Parameters
    ----------
    volumes : sequence of Volume
        Reconstructed normal studies.
    start : Volume
        First template, in MNI space and covering the store's grid: a normal study, or an earlier template.
    rounds : int
        Three suffice: the change from round to round is what `progress` shows.
    progress : callable, optional
        Called after each round with its number and the root-mean-square change, in units of the reference level.

    Returns
    -------
    Volume
        On the store's grid, scaled to the reference region.

    Raises
    ------
    NormalisationError
        When no study could be registered.
    """
    grid = schema.grid_affine()
    anchor = Volume(_scaled(resample(start, np.eye(4), grid, schema.SHAPE)), grid)
    first = _poses(volumes, anchor, range(len(volumes)))
    poses, current = first, anchor
    for number in range(1, rounds + 1):
        if number > 1:
            poses = _without_drift(volumes, current, first)
        mean = _mean([(volumes[index], pose) for index, pose in poses.items()])
        if progress is not None:
            progress(number, float(np.sqrt(np.mean((mean - current.data) ** 2, dtype=np.float64))))
        current = Volume(mean, grid)
    return current


def _poses(volumes: Sequence[Volume], template: Volume, indices: Iterable[int]) -> dict[int, _Pose]:
    """Register the studies of these indices; those where it fails are left out."""
    found = {}
    for index in indices:
        result = register_affine(volumes[index].data, volumes[index].affine, template.data, template.affine)
        if not result.failed:
            found[index] = result.template_to_study
    if not found:
        raise NormalisationError("no study could be registered to the template", "Give normal studies of whole heads.")
    return found


def _without_drift(volumes: Sequence[Volume], template: Volume, first: dict[int, _Pose]) -> dict[int, _Pose]:
    """Register all to the template and take out what they have moved, on average, since they were registered first.

    The mean over the studies is far surer than one registration of the template to the anchor.
    """
    poses = _poses(volumes, template, first)
    drift = np.mean([inverse(first[index]) @ pose for index, pose in poses.items()], axis=0)
    return {index: pose @ inverse(drift) for index, pose in poses.items()}


def _mean(posed: Sequence[tuple[Volume, _Pose]]) -> npt.NDArray[np.float32]:
    """Average the studies in the template's space; voxels outside a study's field of view don't count."""
    total, count = np.zeros(schema.SHAPE), np.zeros(schema.SHAPE)
    for volume, pose in posed:
        study = resample(volume, pose, schema.grid_affine(), schema.SHAPE)
        total += _scaled(study)
        count += study != 0
    return _scaled((total / np.maximum(count, 1)).astype(np.float32))


def _scaled(data: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    reference = region_masks()[schema.REGIONS.index("reference")]
    return scale_to_reference(data, reference & (data != 0))
