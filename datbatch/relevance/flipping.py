"""Region flipping: the log odds should fall faster when the most relevant regions are replaced first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datbatch.arrays import Bools, Floats, Ints
from datbatch.errors import GridMismatchError
from datbatch.precision import products

PASSED_TOGETHER = 8
"""Flipped images that pass the network together: the weights of the fully connected layers are read once for all."""


def block_regions(mask: Bools, edge: int) -> npt.NDArray[np.int32]:
    """Divide a mask into cubes of `edge` voxels, cut by the outline of the mask.

    Gives the number of each voxel's cube, from 0 without gaps; -1 outside the mask.
    """
    place = np.zeros(mask.shape, dtype=np.int64)
    for axis, size in enumerate(mask.shape):
        line = (np.arange(size) // edge).reshape([-1 if at == axis else 1 for at in range(mask.ndim)])
        place = place * (size // edge + 1) + line
    regions = np.full(mask.shape, -1, dtype=np.int32)
    regions[mask] = np.unique(place[mask], return_inverse=True)[1]
    return regions


def relevance_order(relevance: npt.NDArray[Any], regions: npt.NDArray[np.int32]) -> Ints:
    """Give the regions' numbers by the sum of their relevance, most relevant first; equal ones by number."""
    inside = regions >= 0
    sums = np.bincount(regions[inside], weights=relevance[inside].astype(np.float64))
    return np.argsort(-sums, kind="stable")


def flip_counts(regions: int, steps: int) -> Ints:
    """Give how many regions are flipped at each point of a curve: 0, then n (k / steps)^2 for k = 1 ... steps.

    Points lie close where few regions are flipped, since relevance is concentrated in few.
    """
    return np.unique(np.round(regions * (np.arange(steps + 1) / steps) ** 2).astype(np.int64))


@torch.inference_mode()
@products()
def flipping_curve(
    network: nn.Module,
    image: npt.NDArray[np.floating],
    replacement: npt.NDArray[np.floating],
    regions: npt.NDArray[np.int32],
    order: Ints,
    counts: Ints,
) -> Floats:
    """Give the network's outputs (point, 2), in the order of `schema.LABELS`, while ever more regions are replaced.

    Samek et al. 2017, IEEE Trans Neural Netw Learn Syst 28:2660, Sect. III.

    Parameters
    ----------
    network : Module
        In evaluation mode.
    image, replacement : ndarray, shape (x, y, z)
        The study, and what its flipped regions become; a `GridMismatchError` refuses other shapes.
    regions : ndarray of int32, shape (x, y, z)
        From `block_regions`.
    order : ndarray of int, shape (region,)
        All regions' numbers, the first one to flip first.
    counts : ndarray of int, shape (point,)
        How many regions are flipped at each point.
    """
    if not image.shape == replacement.shape == regions.shape:
        raise GridMismatchError(f"image {image.shape}, replacement {replacement.shape}, regions {regions.shape} differ")
    like = next(network.parameters())
    # When each voxel is flipped. The voxels outside all regions, numbered -1, find the last entry: never.
    turn = np.full(len(order) + 1, np.iinfo(np.int64).max)
    turn[order] = np.arange(len(order))
    when = torch.from_numpy(turn[regions]).to(like.device)
    kept, put = (torch.from_numpy(np.ascontiguousarray(one)).to(like) for one in (image, replacement))
    outputs = []
    for start in range(0, len(counts), PASSED_TOGETHER):
        some = torch.from_numpy(counts[start : start + PASSED_TOGETHER]).to(like.device)
        flipped = torch.where(when < some[:, None, None, None], put, kept)
        outputs.append(network(flipped[:, None]).double().cpu().numpy())
    return np.concatenate(outputs)


def area_between(shares: Floats, reference: Floats, curve: Floats) -> float:
    """Give the area by which a curve lies below the reference, over shares flipped from 0 to 1 (trapezoids)."""
    return float(np.trapezoid(reference - curve, shares))
