"""The paper's convolutional network for any grid (Nazari et al. 2022, Fig. 1)."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import conv3d

from datbatch.errors import GridMismatchError, ModelError
from datbatch.schema import LABELS

FILTERS = 16
KERNEL = 3
CONVOLUTIONS = 4
HIDDEN = (32, 16)
UNSCALED_FEATURES = 17_500
"""Features at the first fully connected layer up to which the convolutions start with their full gain."""
HIDDEN_BIAS = 0.1
"""Start of the biases of the hidden fully connected layers: positive, so that no neuron starts out silent."""


@dataclass(frozen=True)
class Preset:
    """What distinguishes one named network from another on the same grid."""

    pool: int
    """Edge in voxels of the blocks that are averaged before the first convolution (1 = none)."""
    description: str
    """One sentence for reports."""


PRESETS = {
    "paper": Preset(pool=1, description="the paper's network on the 2 mm grid"),
    "compact": Preset(pool=2, description="the paper's network on 2 x 2 x 2 voxel means (4 mm)"),
}


class FirstConvolution(nn.Conv3d):
    """A convolution of images of one channel, stride 1, no padding, quick on a processor in both directions."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  # the name is torch's
        """Turn the kernel's extent along z into input channels: the same sums, over images shifted along z.

        With one channel a processor's convolution takes slow paths and leaves its result in another memory order than
        the next convolution wants; with three, both directions together take half the time (measured).
        """
        if input.is_cuda or input.is_meta:
            return super().forward(input)
        last = input.shape[4] - KERNEL + 1
        shifted = torch.cat([input[..., offset : offset + last] for offset in range(KERNEL)], dim=1)
        turned = self.weight.transpose(1, 4)
        order = torch.channels_last_3d
        return conv3d(shifted.contiguous(memory_format=order), turned.contiguous(memory_format=order), self.bias)


def preset(name: str) -> Preset:
    """Look up a preset; a `ModelError` refuses an unknown name."""
    if name not in PRESETS:
        raise ModelError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}")
    return PRESETS[name]


def build_network(
    shape: tuple[int, int, int], *, pool: int = 1, dropout: float = 0.2, seed: int | None = None
) -> nn.Sequential:
    """Build the paper's network for one grid.

    Four convolutions (16 filters, 3 x 3 x 3, stride 1, no padding, no pooling between) are followed by fully
    connected layers of 32 and 16 neurons and two outputs; ReLU on the hidden layers, dropout in the first fully
    connected one. The softmax is left to the loss and to the reader of the outputs. The paper says nothing of the
    initial weights; see `_initialise`.

    Parameters
    ----------
    shape : tuple of int
        Grid of the images (x, y, z) in voxels.
    pool : int
        Edge of the blocks averaged first, an incomplete block at the upper edges included; 1 for none.
    dropout : float
        Probability with which an output of the first fully connected layer is dropped in training.
    seed : int, optional
        Seed of the initial weights; torch's global generator is neither used nor changed then.

    Returns
    -------
    Sequential
        Takes images (study, 1, x, y, z) and gives logits (study, 2) in the order of `schema.LABELS`.

    Raises
    ------
    GridMismatchError
        When the grid is too small for four convolutions without padding.
    """
    pooled = tuple(math.ceil(size / pool) for size in shape)
    reduced = tuple(size - CONVOLUTIONS * (KERNEL - 1) for size in pooled)
    if min(reduced) < 1:
        raise GridMismatchError(f"a grid of {shape} voxels is too small for {CONVOLUTIONS} convolutions")
    with torch.random.fork_rng(devices=[]) if seed is not None else nullcontext():
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = [nn.AvgPool3d(pool, ceil_mode=True)] if pool > 1 else []
        for index in range(CONVOLUTIONS):
            first = index == 0
            layers += [
                FirstConvolution(1, FILTERS, KERNEL) if first else nn.Conv3d(FILTERS, FILTERS, KERNEL),
                nn.ReLU(),
            ]
        layers += [nn.Flatten(), nn.Linear(FILTERS * math.prod(reduced), HIDDEN[0]), nn.ReLU(), nn.Dropout(dropout)]
        layers += [nn.Linear(HIDDEN[0], HIDDEN[1]), nn.ReLU(), nn.Linear(HIDDEN[1], len(LABELS))]
        _initialise(layers)
    return nn.Sequential(*layers)


def _initialise(layers: list[nn.Module]) -> None:
    """Draw the initial weights (Glorot and Bengio 2010), the convolutions' with a gain below one on large grids.

    A step of Adam moves every weight by about the learning rate. So it moves the input of a neuron of the first
    fully connected layer by the learning rate times the sum of its n features: on 7.4 million of them by hundreds,
    and most neurons fall silent for good within a few steps (measured: 19 to 31 of 32, and a test accuracy of
    chance). A gain of (17,500 / n)^(1/4) in each of the four convolutions keeps that sum as it is for 17,500
    features; training then moves the neurons by fractions of their input (measured: 0 to 9 silent).
    """
    connected = [layer for layer in layers if isinstance(layer, nn.Linear)]
    gain = min(1.0, UNSCALED_FEATURES / connected[0].in_features) ** (1 / CONVOLUTIONS)
    for layer in layers:
        if isinstance(layer, nn.Conv3d | nn.Linear) and layer.bias is not None:
            nn.init.xavier_uniform_(layer.weight, gain if isinstance(layer, nn.Conv3d) else 1.0)
            nn.init.constant_(layer.bias, HIDDEN_BIAS if layer in connected[:-1] else 0.0)


def parameter_count(network: nn.Module) -> int:
    """Count the trainable numbers of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def choose_device() -> torch.device:
    """Give the accelerator where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def arrange(network: nn.Module, device: torch.device) -> nn.Module:
    """Put a network on a device with the feature maps of a voxel beside each other in memory.

    On a processor the convolutions of 16 feature maps run about five times faster in this order (measured).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv3d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last_3d)
    return network.to(device)
