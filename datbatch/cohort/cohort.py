"""A cohort, opened once and handed on: its store, its ledger, the records of its commands, and its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datbatch.classifier.folder import NORMAL_RANGE_FILE, ModelCard, ModelFolder
from datbatch.cohort.attributes import model_card
from datbatch.cohort.ledger import Ledger, Runs
from datbatch.cohort.store import Store, models_path
from datbatch.errors import ModelError
from datbatch.location import Location


class Cohort:
    """One cohort.

    Parameters
    ----------
    path : Path or S3Location
        The store; what belongs to it stands beside it.

    Raises
    ------
    StoreError
        When there is no store of this layout at `path`.
    """

    def __init__(self, path: Location) -> None:
        self.path = path
        self.store = Store(path)
        self.ledger = Ledger(path)
        self.runs = Runs(path)

    @property
    def stages(self) -> dict[str, Any]:
        """Identity of each imaging stage, as the store records it; empty before the first run."""
        return dict(self.store.attributes.get("stages", {}))

    def digest_of(self, stage: str) -> str:
        """Give the digest of an imaging stage; empty before the first run."""
        return str(self.stages.get(stage, {}).get("digest", ""))

    @property
    def normal_range_file(self) -> Path:
        """Where `datbatch norms` keeps the fit for single studies."""
        return models_path(self.path) / NORMAL_RANGE_FILE

    def folder(self, model: str) -> ModelFolder:
        """Give the folder of a model; it need not exist."""
        return ModelFolder((models_path(self.path) / model).absolute())

    def card(self, model: str) -> ModelCard:
        """Give the card of a model, with the orientation of the maps in the store."""
        return model_card(self.store.model_attributes(model))

    def newest_model(self) -> str:
        """Name the model that was added last.

        Raises
        ------
        ModelError
            When the store has none.
        """
        created = {name: self.store.model_attributes(name) for name in self.store.models}
        # Models that leave a site out serve the evaluation of another.
        models = [name for name, attributes in created.items() if "part_of" not in attributes]
        if not models:
            raise ModelError("the store has no trained model", "Call `datbatch train COHORT` first.")
        return max(models, key=lambda name: str(created[name]["created"]))
