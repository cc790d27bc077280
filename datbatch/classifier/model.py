"""A trained model on disk: weights as safetensors beside a card; never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from datbatch import __version__
from datbatch.classifier.checkpoint import save_tensors
from datbatch.classifier.network import arrange, build_network, parameter_count, preset
from datbatch.config import canonical_json
from datbatch.errors import ModelError

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "card.json"
PICKLES = frozenset({".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt"})
CARD_VERSION = 1
NOTICE = "Research software, not a medical device."


@dataclass(frozen=True)
class ModelCard:
    """What must be known of a model to use and to judge it; aggregates only, no study."""

    preset: str
    """Name in `PRESETS`."""
    shape: tuple[int, int, int]
    """Grid (x, y, z) of the images in voxels."""
    config: dict[str, Any]
    """Parameters of split, training and explanation, as `Config.to_dict` gives them."""
    data_digest: str
    """Digest of the studies that trained it: their order, content and labels."""
    history: tuple[dict[str, Any], ...] = ()
    """One entry per epoch: epoch, train_loss, validation_loss, validation_accuracy."""
    overfitting_since: int | None = None
    """First epoch after the one of the least validation loss; None where it fell to the end."""
    metrics: dict[str, Any] | None = None
    """Figures of merit by set ("validation", "test")."""
    orientation: dict[str, Any] | None = None
    """What the sign of relevance means: sign, threshold, auc; learned outside the test set."""
    parameters: int = 0
    """Trainable numbers; filled in by `save_model`."""
    weights_sha256: str = ""
    """Digest of the weights file; filled in by `save_model`."""
    versions: dict[str, str] | None = None
    """Versions that trained it; filled in by `save_model`."""
    card_version: int = CARD_VERSION
    """Layout of this card."""
    notice: str = NOTICE
    """What the model is not."""

    def to_json(self) -> str:
        """Write the card as canonical JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card.

        Raises
        ------
        ModelError
            When the text is no card of this layout.
        """
        try:
            given = json.loads(text)
            if not isinstance(given, dict) or given.get("card_version") != CARD_VERSION:
                raise ModelError("the model's card has another layout than this version of datbatch writes")
            given["shape"], given["history"] = tuple(given["shape"]), tuple(given["history"])
            card = cls(**given)
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"the model's card cannot be read ({type(error).__name__})") from error
        if len(card.shape) != 3 or not all(isinstance(size, int) and 0 < size < 4096 for size in card.shape):
            raise ModelError("the model's card names no usable grid")
        return card


@dataclass(frozen=True)
class Model:
    """A trained network and its card."""

    network: nn.Module
    """In evaluation mode; `load_model` gives it on the processor."""
    card: ModelCard
    """What is known of it."""


def save_model(folder: Path, network: nn.Module, card: ModelCard) -> Model:
    """Write a model's folder, as a whole or not at all; one that stands there is replaced.

    Parameters
    ----------
    folder : Path
        Folder to make; its parent must exist.
    network : Module
        As `build_network` gives it.
    card : ModelCard
        Parameter count, digest of the weights and versions are filled in here.

    Returns
    -------
    Model
        The network with the card as written.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    for leftover in (temporary, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    try:
        save_tensors(temporary / WEIGHTS_FILE, network.state_dict(), {"format": "pt"})
        card = replace(
            card,
            parameters=parameter_count(network),
            weights_sha256=file_sha256(temporary / WEIGHTS_FILE),
            versions={
                "python": platform.python_version(),
                "datbatch": __version__,
                "torch": version("torch"),
            },
        )
        (temporary / CARD_FILE).write_text(card.to_json() + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(replaced)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    return Model(network=network, card=card)


def load_model(folder: Path) -> Model:
    """Read a model's folder; the weights must be those that the card describes.

    Raises
    ------
    ModelError
        When something is missing or damaged, card and weights disagree, or only pickled weights are there.
    """
    card, weights = folder / CARD_FILE, folder / WEIGHTS_FILE
    if folder.suffix in PICKLES or (folder.is_dir() and not weights.exists() and _holds_pickle(folder)):
        raise ModelError("pickled weights are never loaded: they can run any code")
    if not card.is_file() or not weights.is_file():
        raise ModelError(f"the folder holds no model: {CARD_FILE} and {WEIGHTS_FILE} are needed")
    try:
        described = ModelCard.from_json(card.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"the model's card cannot be read ({type(error).__name__})") from error
    if file_sha256(weights) != described.weights_sha256:
        raise ModelError("the weights are not those that the model's card describes")
    with torch.device("meta"):
        network = build_network(described.shape, pool=preset(described.preset).pool, dropout=_dropout(described))
    if parameter_count(network) != described.parameters:
        raise ModelError(
            f"the card's grid and preset make {parameter_count(network)} parameters, the card says "
            f"{described.parameters}"
        )
    try:
        network.load_state_dict(load_file(weights), strict=True, assign=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(f"the weights do not fit the model's card ({type(error).__name__})") from error
    return Model(network=arrange(network, torch.device("cpu")).eval(), card=described)


def _holds_pickle(folder: Path) -> bool:
    return any(entry.suffix in PICKLES for entry in folder.iterdir())


def _dropout(card: ModelCard) -> float:
    trained = card.config.get("train", {})
    return float(trained.get("dropout", 0.0)) if isinstance(trained, dict) else 0.0


def file_sha256(path: Path) -> str:
    """Hash a file without holding it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
