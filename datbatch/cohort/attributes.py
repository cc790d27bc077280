"""JSON in the attributes of a store, and what it says of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from datbatch.classifier.folder import ModelCard
from datbatch.config import canonical_json


def json_attribute(attributes: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """Give a JSON object kept in an attribute; an empty one where there is none."""
    value = attributes.get(name)
    if isinstance(value, str) and value:
        value = json.loads(value)
    return dict(value) if isinstance(value, Mapping) else {}


def stored_card(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Give a model's card, with the orientation of the maps that stand in the store.

    A sign means something for the maps that it was learned from alone: with another start of relevance it may turn. So
    the orientation belongs to the explanation. In a store of an earlier version it stands in the copy of the card.

    Parameters
    ----------
    attributes : mapping
        Of the model's group.
    """
    card = json_attribute(attributes, "card")
    learned = json_attribute(attributes, "orientation") or card.get("orientation")
    return card | ({"orientation": learned} if card else {})


def model_card(attributes: Mapping[Any, Any]) -> ModelCard:
    """Read the card that `stored_card` gives.

    Raises
    ------
    ModelError
        When it cannot be read.
    """
    return ModelCard.from_json(canonical_json(stored_card(attributes)))
