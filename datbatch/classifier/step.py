"""One optimisation step, the bits of whose result do not depend on how many processes and threads compute it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from datbatch.classifier.group import Group
from datbatch.classifier.threads import Threads

BLOCK = 65_536
"""Features of the first fully connected layer that are multiplied together on a processor."""

Loss = Callable[[Tensor], Tensor]
"""Gives the loss of the logits (study, class) of a whole batch, as a scalar."""


class Step:
    """Forward and backward pass of a batch through the network.

    The convolutions hold nearly all of the work, the first fully connected layer nearly all of the weights. So the
    convolutions run in micro-batches that are fixed by the batch, whichever process computes them: their features
    are exchanged, and so are their gradients (21,000 numbers a micro-batch), which every process adds in the order
    of the micro-batches. The fully connected layers see the whole batch in every process: exchanging features takes
    less than exchanging the gradients of 10^7 to 10^8 weights. On a processor, products with the first of them are
    taken in fixed blocks of features.

    Parameters
    ----------
    network : Sequential
        As `build_network` gives it.
    micro_batch : int
        Studies that pass the convolutions together.
    group : Group
        The processes that compute together.
    threads : Threads
        Each computes a micro-batch or a block.
    autocast : dtype, optional
        Type in which the products of the convolutions are computed; by default that of the weights. The fully connected
        layers always use the weights' type: at the start of training the sums of two studies differ by a thousandth,
        which is all that tells them apart, and less than a step of bfloat16.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        micro_batch: int,
        group: Group,
        threads: Threads,
        autocast: torch.dtype | None = None,
    ) -> None:
        layers = list(network.children())
        split = next(index for index, layer in enumerate(layers) if isinstance(layer, nn.Linear))
        self._convolutions, self._connected = layers[: split - 1], layers[split + 1 :]
        first = layers[split]
        assert isinstance(first, nn.Linear)
        self._first = first
        self._shared = [p for layer in self._convolutions for p in layer.parameters()]
        self._rest = [first.bias, *(p for layer in self._connected for p in layer.parameters())]
        self._micro_batch, self._group, self._threads, self._autocast = micro_batch, group, threads, autocast
        width = BLOCK if first.weight.device.type == "cpu" else first.in_features
        self._blocks = [slice(start, start + width) for start in range(0, first.in_features, width)]

    def own(self, studies: Sequence[int]) -> list[int]:
        """Give the studies of a batch that this process reads: those of its micro-batches."""
        parts = self._parts(len(studies))
        return [index for number, part in enumerate(parts) if self._group.mine(number) for index in studies[part]]

    def gradients(self, images: Tensor, studies: int, loss: Loss) -> Tensor:
        """Compute the loss of a batch, a scalar, and put its gradients beside the weights.

        `images` (study, 1, x, y, z) are those that `own` names, `studies` counts the batch in all processes,
        and `loss` is the same in every process.
        """
        parts = self._parts(studies)
        own = [number for number in range(len(parts)) if self._group.mine(number)]
        weight = self._first.weight
        features = torch.empty((studies, self._first.in_features), dtype=weight.dtype, device=weight.device)
        sums = features.new_empty((len(parts), sum(p.numel() for p in self._shared)))

        def forward(number: int, group: Tensor) -> Tensor:
            output = self._convolve(group)
            features[parts[number]].view(output.shape).copy_(output.detach())
            return output

        def backward(number: int, output: Tensor) -> None:
            # In the memory order of the feature maps: the backward pass takes twice as long otherwise.
            start = torch.empty_like(output).copy_(at_features[parts[number]].view(output.shape))
            found = torch.autograd.grad(output, self._shared, start)
            torch.cat([gradient.reshape(-1) for gradient in found], out=sums[number])

        groups = torch.split(images, [parts[number].stop - parts[number].start for number in own])
        outputs = self._threads.each(lambda job: forward(*job), zip(own, groups, strict=True))
        self._group.share([features[part] for part in parts])
        value, at_features = self._connect(features, loss)
        self._threads.each(lambda job: backward(*job), zip(own, outputs, strict=True))
        self._group.share(list(sums))
        total = sums[0]
        for other in sums[1:]:
            total += other
        gradients = torch.split(total, [p.numel() for p in self._shared])
        for parameter, gradient in zip(self._shared, gradients, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(gradient.view(parameter.shape))
        return value

    def _parts(self, studies: int) -> list[slice]:
        size = self._micro_batch
        return [slice(start, min(start + size, studies)) for start in range(0, studies, size)]

    def _convolve(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, dtype=self._autocast, enabled=self._autocast is not None):
            for layer in self._convolutions:
                # A convolution's backward pass does not need its output, so that the ReLU may take its place.
                images = images.relu_() if isinstance(layer, nn.ReLU) else layer(images)
        return images

    def _connect(self, features: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Run the fully connected layers; give the loss and its gradient at the features.

        The gradient of the first layer's weights is written where that of the last step stood, instead of being
        allocated, filled and added by autograd: it is as large as the weights.
        """
        weight = self._first.weight
        at_features = torch.empty_like(features)
        if weight.grad is None:
            weight.grad = torch.empty_like(weight)
        at_weight = weight.grad

        def forward(block: slice) -> Tensor:
            return linear(features[:, block], weight.detach()[:, block])

        def backward(block: slice) -> None:
            torch.mm(at_summed.t(), features[:, block], out=at_weight[:, block])
            at_features[:, block] = at_summed @ weight.detach()[:, block]

        summed, *others = self._threads.each(forward, self._blocks)
        for other in others:
            summed += other
        summed.requires_grad_()
        hidden = summed + self._first.bias
        for layer in self._connected:
            hidden = layer(hidden)
        value = loss(hidden)
        at_summed, *at_rest = torch.autograd.grad(value, [summed, *self._rest])
        for parameter, gradient in zip(self._rest, at_rest, strict=True):
            parameter.grad = gradient
        self._threads.each(backward, self._blocks)
        return value.detach(), at_features
