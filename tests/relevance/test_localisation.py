"""Mass and rank on maps whose answer is known."""

import numpy as np
import pytest

from datbatch.relevance.localisation import relevance_mass, relevance_rank, widen

MASK = np.zeros((6, 5, 4), dtype=bool)
MASK[1:3, 1:3, 1:3] = True


def test_relevance_of_the_mask_alone_is_all_there() -> None:
    assert relevance_mass(3.0 * MASK, MASK) == 1.0
    assert relevance_rank(np.where(MASK, 2.0, -1.0), MASK) == 1.0


def test_relevance_elsewhere_counts_nothing() -> None:
    assert relevance_mass(1.0 * ~MASK, MASK) == 0.0
    assert relevance_rank(np.where(MASK, -1.0, np.arange(MASK.size).reshape(MASK.shape)), MASK) == 0.0


def test_even_relevance_has_the_masks_share() -> None:
    assert relevance_mass(np.ones(MASK.shape), MASK) == pytest.approx(8 / 120)


def test_half_of_the_most_relevant_voxels() -> None:
    values = np.zeros(MASK.shape)
    values[1, 1:3, 1:3] = [[8, 7], [6, 5]]
    values[5, 0:4, 0] = [4, 3, 2, 1]
    assert relevance_rank(values, MASK) == 0.5
    assert relevance_mass(values, MASK) == pytest.approx(26 / 36)


def test_equal_values_at_the_last_rank_count_by_their_share() -> None:
    values = np.zeros(MASK.shape)
    values[1, 1, 1:3] = 1.0
    # Two are inside for certain; six places are drawn from 118 zeros, of which 6 lie inside.
    assert relevance_rank(values, MASK) == pytest.approx((2 + 6 * 6 / 118) / 8)


def test_a_map_without_relevance_has_no_answer() -> None:
    assert relevance_mass(np.zeros(MASK.shape), MASK) is None
    assert relevance_rank(np.full(MASK.shape, 2.0), MASK) is None
    assert relevance_rank(np.arange(120.0).reshape(MASK.shape), np.zeros_like(MASK)) is None


def test_a_margin_is_measured_between_centres() -> None:
    point = np.zeros((9, 9, 9), dtype=bool)
    point[4, 4, 4] = True
    assert widen(point, 2.0, 2.0).sum() == 7
    assert widen(point, 0.0, 2.0).sum() == 1
    assert widen(point, 4.0, 2.0).sum() == 33
