"""The folder of a trained model: its card, and the only place that names, reads or writes a file in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datbatch.config import canonical_json
from datbatch.errors import ModelError
from datbatch.files import write_whole

CARD_VERSION = 1
NOTICE = "Research software, not a medical device."
NORMAL_RANGE_FILE = "normal_range.json"


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

    def to_bytes(self) -> bytes:
        """Give what the file of a model's folder holds."""
        return f"{self.to_json()}\n".encode()

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card; a `ModelError` refuses a text that is no card of this layout."""
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
class ModelFolder:
    """The files of one model; the folder may lie beside a store, or have been taken elsewhere."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.path.name

    @property
    def card_file(self) -> Path:
        """What must be known of the model."""
        return self.path / "card.json"

    @property
    def weights_file(self) -> Path:
        """The network's weights."""
        return self.path / "model.safetensors"

    @property
    def split_file(self) -> Path:
        """Which studies trained it."""
        return self.path / "split.json"

    @property
    def evaluation_file(self) -> Path:
        """What tells whether a call is certain."""
        return self.path / "evaluation.json"

    @property
    def inference_file(self) -> Path:
        """Log odds of studies that were inferred and not explained."""
        return self.path / "inference.json"

    @property
    def template_file(self) -> Path:
        """A user's own template."""
        return self.path / "template.nii.gz"

    @property
    def atlas_file(self) -> Path:
        """A user's own atlas."""
        return self.path / "atlas.nii.gz"

    @property
    def normal_range_files(self) -> tuple[Path, Path]:
        """Where a normal range may be: in the folder of a model that was taken elsewhere, or beside all models."""
        return self.path / NORMAL_RANGE_FILE, self.path.absolute().parent / NORMAL_RANGE_FILE

    @property
    def workspace(self) -> Workspace:
        """Where the model is while it is trained."""
        return Workspace(self.path.with_name(f".{self.name}.training").absolute())

    def card(self) -> ModelCard:
        """Read the card; a `ModelError` says that there is none, or that it cannot be read."""
        try:
            return ModelCard.from_json(self.card_file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ModelError("there is no trained model of that name beside the store") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"the model's card cannot be read ({type(error).__name__})") from error

    def split(self) -> dict[str, str]:
        """Read which set each study was in, by pseudonym; the text is empty for a study in no set."""
        return dict(json.loads(self.split_file.read_text(encoding="utf-8")))

    def write_split(self, split: Mapping[str, str]) -> None:
        """Write which set each study was in."""
        write_whole(self.split_file, canonical_json(split).encode())


@dataclass(frozen=True)
class Workspace:
    """The folder of a model that is being trained."""

    path: Path

    @property
    def checkpoint_file(self) -> Path:
        """The state to go on from."""
        return self.path / "checkpoint.safetensors"

    def write_progress(self, state: Mapping[str, Any]) -> None:
        """Tell how far the training is."""
        write_whole(self.path / "history.json", json.dumps(state).encode())

    def progress(self) -> dict[str, Any] | None:
        """Read how far the training is; None before its first epoch ended."""
        try:
            return dict(json.loads((self.path / "history.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None


def file_sha256(path: Path) -> str:
    """Hash a file without holding it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
