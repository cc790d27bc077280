"""Training volumes as other cameras or shorter acquisitions would show them, drawn anew in each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from datbatch.arrays import Floats32
from datbatch.classifier.loader import Images
from datbatch.config import TrainConfig
from datbatch.schema import SPACING_MM

SIGMA_PER_FWHM = 1.0 / math.sqrt(8.0 * math.log(2.0))
STREAM = 1
"""Sets these draws apart from the order of the epoch, which has the same seed."""


def augment(volume: Floats32, rng: np.random.Generator, *, blur_fwhm_mm: float, noise: float) -> Floats32:
    """Blur a volume (x, y, z) and add noise, each by a strength drawn evenly from none to the greatest.

    The variance of the noise grows with the uptake, as that of counts does: SD = share sqrt(uptake), so that the SD
    is `share` at the reference level of 1. `blur_fwhm_mm` is the greatest width of the Gaussian, `noise` the
    greatest share.
    """
    fwhm_mm, share = rng.uniform(0.0, blur_fwhm_mm), rng.uniform(0.0, noise)
    blurred = gaussian_filter(volume, fwhm_mm * SIGMA_PER_FWHM / SPACING_MM) if fwhm_mm > 0 else volume
    if share == 0:
        return blurred
    sd = np.float32(share) * np.sqrt(np.maximum(blurred, 0.0))
    noisy: Floats32 = blurred + sd * rng.standard_normal(volume.shape, dtype=np.float32)
    return noisy


@dataclass(frozen=True)
class _Augmented:
    """A store whose volumes come augmented, by draws that seed, epoch and study alone decide."""

    images: Images
    config: TrainConfig
    epoch: int

    def __getitem__(self, index: int, /) -> Floats32:
        config, volume = self.config, np.asarray(self.images[index], dtype=np.float32)
        rng = np.random.default_rng([config.seed, self.epoch, index, STREAM])
        return augment(volume, rng, blur_fwhm_mm=config.augment_blur_fwhm_mm, noise=config.augment_noise)


def augmented(images: Images, config: TrainConfig, epoch: int) -> Images:
    """Give the store as an epoch sees it; as it is where no augmentation is asked for."""
    asked = config.augment_blur_fwhm_mm > 0 or config.augment_noise > 0
    return _Augmented(images, config, epoch) if asked else images
