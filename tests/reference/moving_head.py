"""Counts of a head of Gaussian blobs that moves: each blob's projection in closed form, weakened with its depth."""

from dataclasses import dataclass

import numpy as np

from datbatch.archive import Acquisition, StudyFacts

BLOBS = (
    # x, y, z in LPS mm, standard deviation in mm, share of the counts
    (0.0, 0.0, 45.0, 28.0, 0.20),
    (-35.0, -45.0, 20.0, 27.0, 0.15),
    (35.0, -45.0, 20.0, 27.0, 0.13),
    (-33.0, 50.0, 15.0, 27.0, 0.12),
    (36.0, 48.0, 12.0, 27.0, 0.14),
    (-25.0, -5.0, 5.0, 9.0, 0.05),
    (25.0, -5.0, 5.0, 9.0, 0.03),
    (0.0, 40.0, -45.0, 25.0, 0.12),
    (0.0, 25.0, -95.0, 32.0, 0.06),
)
WEAKENING_PER_MM = 0.006
PIXEL_MM = 4.8
MATRIX = 64
VIEWS_PER_HEAD = 60


@dataclass(frozen=True)
class Turn:
    """Which detector stands where when: head after head."""

    angles_deg: np.ndarray
    head: np.ndarray
    moment: np.ndarray


def two_heads(start_deg: float = 0.0) -> Turn:
    """Two opposed detectors over half a circle each, 3 degrees a step."""
    moment = np.tile(np.arange(VIEWS_PER_HEAD), 2)
    head = np.repeat([0, 1], VIEWS_PER_HEAD)
    return Turn(np.mod(start_deg + 180.0 * head + 3.0 * moment, 360.0), head.astype(np.int32), moment.astype(np.int32))


def one_head(views: int = 2 * VIEWS_PER_HEAD) -> Turn:
    """One detector, 3 degrees a step."""
    moment = np.arange(views)
    return Turn(3.0 * moment, np.zeros(views, dtype=np.int32), moment.astype(np.int32))


def expected_counts(turn: Turn, path_mm: np.ndarray, offset_mm: np.ndarray | float, total: float) -> np.ndarray:
    """Give the mean counts, shape (view, row, bin), of a head displaced by path_mm (view, 3), LPS."""
    angle = np.radians(turn.angles_deg)[:, None]
    middle = (np.arange(MATRIX) - (MATRIX - 1) / 2) * PIXEL_MM
    x, y, z, width, share = (np.array(column) for column in zip(*BLOBS, strict=True))
    x, y, z = x + path_mm[:, :1], y + path_mm[:, 1:2], z + path_mm[:, 2:]
    depth = (x - path_mm[:, :1]) * np.sin(angle) + (y - path_mm[:, 1:2]) * np.cos(angle)
    right = -x * np.cos(angle) + y * np.sin(angle) + np.broadcast_to(offset_mm, turn.angles_deg.shape)[:, None]
    weight = share * np.exp(WEAKENING_PER_MM * depth) / width**2
    over = [np.exp(-((middle - place[..., None]) ** 2) / (2 * width[:, None] ** 2)) for place in (-z, right)]
    images = np.einsum("vb,vbr,vbc->vrc", weight, over[0], over[1])
    return total * images / images.sum()


def acquired(
    turn: Turn,
    path_mm: np.ndarray | None = None,
    *,
    offset_mm: np.ndarray | float = 0.0,
    total: float = 3.5e6,
    seed: int = 0,
    facts: StudyFacts | None = None,
) -> Acquisition:
    """Draw the counts and give them as an acquisition; views in the order of `turn`."""
    path = np.zeros((turn.angles_deg.size, 3)) if path_mm is None else path_mm
    counts = np.random.default_rng(seed).poisson(expected_counts(turn, path, offset_mm, total)).astype(np.uint16)
    radius = np.full(turn.angles_deg.size, 140.0)
    study = StudyFacts() if facts is None else facts
    return Acquisition(counts, turn.angles_deg, PIXEL_MM, PIXEL_MM, radius, study, turn.head, turn.moment)
