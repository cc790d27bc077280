"""The paper's rules by zennit, the reference implementation (Anders et al. 2021, arXiv:2106.13200): rules as hooks of autograd."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

TORCHVISION = {"resnet": ("Bottleneck", "BasicBlock", "ResNet"), "vgg": ("VGG",)}
"""What zennit imports of torchvision's networks, only to know them by their class."""


def available() -> bool:
    """Tell whether zennit is installed."""
    return importlib.util.find_spec("zennit") is not None


def load() -> Any:
    """Import zennit, with empty classes in the place of torchvision's networks where that is not installed."""
    if importlib.util.find_spec("torchvision") is None:
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
