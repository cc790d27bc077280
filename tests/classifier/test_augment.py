"""Augmentation blurs and adds noise of the stated size, from draws that can be repeated."""

import numpy as np

from datbatch.classifier.augment import augment, augmented
from datbatch.config import TrainConfig


class Full:
    """Draws the greatest strength, and noise from a seed."""

    def __init__(self):
        self.standard_normal = np.random.default_rng(0).standard_normal

    def uniform(self, low, high):
        return high


def test_a_point_is_blurred_to_the_asked_width_and_keeps_its_sum():
    point = np.zeros((31, 31, 31), dtype=np.float32)
    point[15, 15, 15] = 1.0
    blurred = augment(point, Full(), blur_fwhm_mm=8.0, noise=0.0)
    profile = blurred.sum(axis=(1, 2))
    variance = (profile * (2.0 * (np.arange(31) - 15)) ** 2).sum()
    assert np.isclose(profile.sum(), 1.0, atol=1e-3)
    assert np.isclose(np.sqrt(8 * np.log(2) * variance), 8.0, rtol=0.03)


def test_the_variance_of_the_noise_grows_with_the_uptake():
    for level in (1.0, 4.0):
        volume = np.full((40, 40, 40), level, dtype=np.float32)
        noisy = augment(volume, Full(), blur_fwhm_mm=0.0, noise=0.1)
        assert noisy.dtype == np.float32
        assert np.isclose(noisy.std(), 0.1 * np.sqrt(level), rtol=0.02)
        assert np.isclose(noisy.mean(), level, rtol=1e-3)


def test_draws_depend_on_seed_epoch_and_study_and_nothing_is_changed_where_none_is_asked_for():
    images = [np.ones((6, 6, 6), dtype=np.float32)] * 3
    asked = TrainConfig(augment_blur_fwhm_mm=6.0, augment_noise=0.2)
    once, again, later = augmented(images, asked, 1), augmented(images, asked, 1), augmented(images, asked, 2)
    assert (once[0] == again[0]).all()
    assert (once[0] != once[1]).any()
    assert (once[0] != later[0]).any()
    assert (images[0] == 1).all()
    assert augmented(images, TrainConfig(), 1) is images
