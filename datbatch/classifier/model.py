"""A trained model on disk: weights as safetensors beside a card; never a pickle."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from datbatch import __version__
from datbatch.classifier.checkpoint import save_tensors
from datbatch.classifier.folder import ModelCard, ModelFolder, file_sha256
from datbatch.classifier.network import arrange, build_network, parameter_count, preset
from datbatch.errors import ModelError
from datbatch.schema import TRAIN

PICKLES = frozenset({".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt"})


@dataclass(frozen=True)
class Model:
    """A trained network and its card."""

    network: nn.Module
    """In evaluation mode; `load_model` gives it on the processor."""
    card: ModelCard
    """What is known of it."""


def save_model(folder: Path, network: nn.Module, card: ModelCard) -> Model:
    """Write a model's folder, as a whole or not at all; an existing one is replaced. The folder's parent must exist.

    Gives the network with the card as written: parameter count, digest of the weights and versions are filled in
    here.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    for leftover in (temporary, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    written = ModelFolder(temporary)
    try:
        save_tensors(written.weights_file, network.state_dict(), {"format": "pt"})
        card = replace(
            card,
            parameters=parameter_count(network),
            weights_sha256=file_sha256(written.weights_file),
            versions={"python": platform.python_version(), "datbatch": __version__, "torch": version("torch")},
        )
        written.card_file.write_bytes(card.to_bytes())
        if folder.exists():
            folder.rename(replaced)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    return Model(network=network, card=card)


def load_model(folder: Path) -> Model:
    """Read a model's folder; the weights must be those that the card describes.

    A `ModelError` says that something is missing or damaged, that card and weights disagree, or that only pickled
    weights are there.
    """
    files = ModelFolder(folder)
    card, weights = files.card_file, files.weights_file
    if folder.suffix in PICKLES or (folder.is_dir() and not weights.exists() and _holds_pickle(folder)):
        raise ModelError("pickled weights are never loaded: they can run any code")
    if not card.is_file() or not weights.is_file():
        raise ModelError(f"the folder holds no model: {card.name} and {weights.name} are needed")
    described = files.card()
    if file_sha256(weights) != described.weights_sha256:
        raise ModelError("the weights are not those that the model's card describes")
    with torch.device("meta"):
        network = build_network(described.shape, pool=preset(described.preset).pool, dropout=_dropout(described))
    count, told = parameter_count(network), described.parameters
    if count != told:
        raise ModelError(f"the card's grid and preset make {count} parameters, the card says {told}")
    try:
        network.load_state_dict(load_file(weights), strict=True, assign=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(f"the weights do not fit the model's card ({type(error).__name__})") from error
    return Model(network=arrange(network, torch.device("cpu")).eval(), card=described)


def _holds_pickle(folder: Path) -> bool:
    return any(entry.suffix in PICKLES for entry in folder.iterdir())


def _dropout(card: ModelCard) -> float:
    trained = card.config.get(TRAIN, {})
    return float(trained.get("dropout", 0.0)) if isinstance(trained, dict) else 0.0
