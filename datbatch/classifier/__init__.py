"""The paper's convolutional network: split, training, and the trained model on disk.

Public names load on first use, so that the split (pure numpy) can be had without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "build_network": "network",
    "PRESETS": "network",
    "assign_split": "split",
    "encode_labels": "split",
    "train_network": "train",
    "predict": "inference",
    "ModelCard": "folder",
    "save_model": "model",
    "load_model": "model",
}
__all__ = [
    "PRESETS",
    "ModelCard",
    "assign_split",
    "build_network",
    "encode_labels",
    "load_model",
    "predict",
    "save_model",
    "train_network",
]

if TYPE_CHECKING:
    from datbatch.classifier.folder import ModelCard
    from datbatch.classifier.inference import predict
    from datbatch.classifier.model import load_model, save_model
    from datbatch.classifier.network import PRESETS, build_network
    from datbatch.classifier.split import assign_split, encode_labels
    from datbatch.classifier.train import train_network


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
