"""Affine normalisation by SimpleITK and ANTsPy, one thread each, as careful users would set them up.

Both get the study blurred as datbatch blurs it and without negative values, and no mask: with one around the brain, or
on raw images, both lost several heads altogether.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.imaging import Volume
from datbatch.imaging.registration.smoothing import smooth_and_thin

os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")

SMOOTHING_FWHM_MM = 8.0
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_Array = npt.NDArray[np.float64]
Method = Callable[[Volume, Volume], _Array]
"""Study and template to template mm to study mm, RAS."""


def available_peers() -> dict[str, Method]:
    """Give the peers that are installed."""
    found: dict[str, Method] = {}
    for name, module, method in (("SimpleITK", "SimpleITK", simple_itk), ("ANTsPy", "ants", ants)):
        if importlib.util.find_spec(module) is None:
            print(f"{name} is not installed and is left out", flush=True)
        else:
            found[name] = method
    return found


def prepared(study: Volume) -> Volume:
    """Blur a study as datbatch does before it compares, and cut off negative values."""
    blurred = smooth_and_thin(study, SMOOTHING_FWHM_MM, 0.0)
    return Volume(np.maximum(blurred.data, 0.0), blurred.affine)


def simple_itk(study: Volume, template: Volume) -> _Array:
    """Mattes mutual information; centres of the heads (Otsu), rigid and then affine, three resolutions each."""
    import SimpleITK as sitk  # noqa: N813

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

    def image(volume: Volume, data: npt.NDArray[Any]) -> Any:
        made = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
        affine = _LPS @ volume.affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        made.SetSpacing(spacing.tolist())
        made.SetOrigin(affine[:3, 3].tolist())
        made.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
        return made

    def head(volume: Any) -> Any:
        return sitk.Cast(sitk.OtsuThreshold(volume, 0, 1), sitk.sitkFloat32)

    study = prepared(study)
    fixed, moving = image(template, template.data), image(study, study.data)
    current: Any = sitk.CenteredTransformInitializer(
        head(fixed), head(moving), sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    for stage in ("rigid", "affine"):
        if stage == "affine":
            rigid = current
            current = sitk.AffineTransform(3)
            current.SetCenter(rigid.GetCenter())
            current.SetMatrix(rigid.GetMatrix())
            current.SetTranslation(rigid.GetTranslation())
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(0.2, seed=1)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=1.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.6
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([6.0, 3.0, 0.0])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetInitialTransform(current, inPlace=True)
        method.Execute(fixed, moving)
    matrix = np.array(current.GetMatrix()).reshape(3, 3)
    return _from_lps(matrix, np.array(current.GetCenter()), np.array(current.GetTranslation()))


def ants(study: Volume, template: Volume) -> _Array:
    """Give the affine of `ants.registration` with Mattes mutual information."""
    import ants as antspy

    def image(volume: Volume, data: npt.NDArray[Any]) -> Any:
        affine = _LPS @ volume.affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        return antspy.from_numpy(
            np.ascontiguousarray(data, np.float32),
            origin=affine[:3, 3].tolist(),
            spacing=spacing.tolist(),
            direction=affine[:3, :3] / spacing,
        )

    study = prepared(study)
    done = antspy.registration(
        fixed=image(template, template.data),
        moving=image(study, study.data),
        type_of_transform="Affine",
        aff_metric="mattes",
        aff_sampling=32,
        aff_random_sampling_rate=0.2,
        random_seed=1,
    )
    transform = antspy.read_transform(done["fwdtransforms"][0])
    parameters = np.array(transform.parameters)
    return _from_lps(parameters[:9].reshape(3, 3), np.array(transform.fixed_parameters), parameters[9:])


def _from_lps(matrix: _Array, centre: _Array, translation: _Array) -> _Array:
    """Turn ITK's y = M (x - c) + c + t, in LPS, into a (4, 4) matrix in RAS."""
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = centre + translation - matrix @ centre
    return np.asarray(_LPS @ affine @ _LPS, np.float64)
