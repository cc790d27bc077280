"""One optimisation step, the bits of whose result do not depend on how many processes compute it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from datbatch.classifier.group import Group

Loss = Callable[[Tensor], Tensor]
"""Gives the loss of the logits (study, class) of a whole batch, as a scalar."""


class Step:
    """Forward and backward pass of a batch through the network.

    The convolutions hold nearly all of the work, the first fully connected layer nearly all of the weights. So the
    convolutions run in micro-batches that are fixed by the batch, whichever process computes them: their features are
    exchanged, and so are their gradients (21,000 numbers a micro-batch), which every process adds in the order of the
    micro-batches. The fully connected layers see the whole batch in every process: exchanging features takes less
    than exchanging the gradients of 10^7 to 10^8 weights, and a matrix product over the batch adds in one order only.

    Parameters
    ----------
    network : Sequential
        As `build_network` gives it.
    micro_batch : int
        Studies that pass the convolutions together.
    group : Group
        The processes that compute together.
    autocast : dtype, optional
        Type in which products are computed; that of the weights by default.
    """

    def __init__(
        self, network: nn.Module, *, micro_batch: int, group: Group, autocast: torch.dtype | None = None
    ) -> None:
        layers = list(network.children())
        split = next(index for index, layer in enumerate(layers) if isinstance(layer, nn.Linear))
        self._convolutions, self._connected = layers[: split - 1], layers[split + 1 :]
        first = layers[split]
        assert isinstance(first, nn.Linear)
        self._first = first
        self._shared = [p for layer in self._convolutions for p in layer.parameters()]
        self._rest = [first.bias, *(p for layer in self._connected for p in layer.parameters())]
        self._micro_batch, self._group, self._autocast = micro_batch, group, autocast

    def own(self, studies: Sequence[int]) -> list[int]:
        """Give the studies of a batch that this process reads: those of its micro-batches."""
        parts = self._parts(len(studies))
        return [index for number, part in enumerate(parts) if self._group.mine(number) for index in studies[part]]

    def gradients(self, images: Tensor, studies: int, loss: Loss) -> Tensor:
        """Compute the loss of a batch and put its gradients beside the weights.

        Parameters
        ----------
        images : Tensor, shape (study, 1, x, y, z)
            Of the studies that `own` names.
        studies : int
            Studies of the batch in all processes.
        loss : callable
            See `Loss`; the same in every process.

        Returns
        -------
        Tensor
            The loss, a scalar.
        """
        parts = self._parts(studies)
        features = torch.empty((studies, self._first.in_features), dtype=self._first.weight.dtype, device=images.device)
        maps: dict[int, Tensor] = {}
        first = 0
        for number, part in enumerate(parts):
            if self._group.mine(number):
                count = part.stop - part.start
                maps[number] = self._convolve(images[first : first + count])
                features[part].view(maps[number].shape).copy_(maps[number].detach())
                first += count
        self._group.share([features[part] for part in parts])
        value, at_features = self._connect(features, loss)
        sums = features.new_empty((len(parts), sum(p.numel() for p in self._shared)))
        for number, output in maps.items():
            # In the memory order of the feature maps: the backward pass takes twice as long otherwise.
            start = torch.empty_like(output).copy_(at_features[parts[number]].view(output.shape))
            found = torch.autograd.grad(output, self._shared, start)
            torch.cat([gradient.reshape(-1) for gradient in found], out=sums[number])
            del output
        maps.clear()
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
        kind = self._autocast or weight.dtype
        narrow, narrow_weight = features.to(kind), weight.detach().to(kind)
        with torch.autocast(features.device.type, dtype=self._autocast, enabled=self._autocast is not None):
            summed = linear(narrow, narrow_weight).requires_grad_()
            hidden = summed + self._first.bias
            for layer in self._connected:
                hidden = layer(hidden)
        value = loss(hidden.float())
        at_sum, *others = torch.autograd.grad(value, [summed, *self._rest])
        for parameter, gradient in zip(self._rest, others, strict=True):
            parameter.grad = gradient
        if weight.grad is None:
            weight.grad = torch.empty_like(weight)
        if kind == weight.dtype:
            torch.mm(at_sum.t(), features, out=weight.grad)
        else:
            weight.grad.copy_(at_sum.t() @ narrow)
        return value.detach(), (at_sum @ narrow_weight).to(features.dtype)
