"""Relevance by zennit, the reference implementation, which works by hooks of autograd (Anders et al. 2021)."""

import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TORCHVISION = {"resnet": ("Bottleneck", "BasicBlock", "ResNet"), "vgg": ("VGG",)}
"""What zennit imports of torchvision's networks, only to know them by their class."""


def available() -> bool:
    return importlib.util.find_spec("zennit") is not None


def load() -> Any:
    """Import zennit, with empty classes in the place of torchvision's networks where that is not installed."""
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        models = types.ModuleType("torchvision.models")
        for name, classes in TORCHVISION.items():
            module = types.ModuleType(f"torchvision.models.{name}")
            for kind in classes:
                setattr(module, kind, type(kind, (nn.Module,), {}))
            setattr(models, name, module)
            sys.modules[module.__name__] = module
        package = types.ModuleType("torchvision")
        package.models = models
        sys.modules |= {"torchvision": package, "torchvision.models": models}
    import zennit.rules

    return zennit.rules


def paper_hooks(network: nn.Sequential, *, bias: bool = True) -> list[Any]:
    """Give zennit's rules of the paper for the layers with weights, in forward order."""
    rules, zero = load(), None if bias else ["bias"]
    convolutions = sum(isinstance(layer, nn.Conv3d) for layer in network)
    connected = sum(isinstance(layer, nn.Linear) for layer in network)
    flat = convolutions // 2
    return [
        *(rules.Flat() for _ in range(flat)),
        *(rules.AlphaBeta(2.0, 1.0, zero_params=zero) for _ in range(convolutions - flat)),
        *(rules.Epsilon(1e-4, zero_params=zero) for _ in range(connected)),
    ]


def explainer(network: nn.Sequential, hooks: Sequence[Any]) -> Callable[[Tensor], Tensor]:
    """Give a function from images to the relevance of the most activated output; one hook for each layer with weights.

    ReLU and dropout pass relevance on unchanged, average pooling shares it out as the flat rule does.
    """
    rules = load()
    from zennit.composites import NameMapComposite

    waiting, named = iter(hooks), []
    for name, layer in network.named_children():
        if isinstance(layer, nn.Conv3d | nn.Linear):
            named.append(([name], next(waiting)))
        elif isinstance(layer, nn.AvgPool3d):
            named.append(([name], rules.Flat()))
        elif isinstance(layer, nn.ReLU):
            named.append(([name], rules.Pass()))
    composite = NameMapComposite(named)

    def explain(images: Tensor) -> Tensor:
        with torch.enable_grad(), composite.context(network) as hooked:
            inputs = images.detach().clone().requires_grad_()
            outputs = hooked(inputs)
            start = outputs.detach() * functional.one_hot(outputs.detach().argmax(dim=1), outputs.shape[1])
            (relevance,) = torch.autograd.grad(outputs, inputs, start)
        return relevance

    return explain
