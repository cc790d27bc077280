"""Every file of a store that holds no volume, made again in memory from the ledger: what `verify` compares with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore, WrapperStore

from datbatch import location, schema
from datbatch.cohort import layout
from datbatch.cohort.attributes import json_attribute
from datbatch.cohort.facts import (
    ATTRIBUTES,
    FACTS,
    METADATA,
    ROOT,
    SHA256,
    VALUES,
    Facts,
    column_fact,
    metadata_of,
    node_of_fact,
    values_sha256,
    variable_of,
)
from datbatch.cohort.fold import (
    ARCHIVE_OUTCOMES,
    OF_NO_ARRAY,
    OWN_TEMPLATE,
    explained_columns,
    fold_stage,
    limits_of,
    pending_outcomes,
)
from datbatch.cohort.ledger import Ledger
from datbatch.cohort.shard import open_array, read_whole, zarr_store
from datbatch.cohort.store import Store
from datbatch.errors import ARCHIVE, Outcome
from datbatch.location import Location


@dataclass(frozen=True)
class Shadow:
    """The files of a store as its ledger wants them."""

    studies: list[str]
    """Pseudonyms in the store's order."""
    files: Mapping[str, bytes]
    """Content by path; no volumes, and no values of which the ledger has only the hash."""
    facts: Mapping[str, Mapping[str, Any]]
    learned: Mapping[str, Mapping[str, Any]]
    """What a sign of relevance means, by model, as its maps and labels say."""

    def place(self) -> MemoryStore:
        """Give the files as zarr opens them."""
        from_bytes = default_buffer_prototype().buffer.from_bytes
        return MemoryStore({name: from_bytes(content) for name, content in self.files.items()})


def sound_facts(path: Location) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Read all facts of a store; those that are lost or damaged are read from what shows them.

    Returns
    -------
    facts : dict
        By path of the group or array.
    damaged : list of str
        Paths of the groups and arrays whose facts are lost or damaged.
    """
    facts = Facts(path)
    found, listed = facts.read_all(), facts.listed() or set()
    lost = {node_of_fact(place) for place in listed if place.startswith(f"{FACTS}/")} - found.keys()
    damaged = sorted({node for node, fact in found.items() if fact is None} | lost | ({ROOT} - found.keys()))
    shown = {node: fact for node in damaged if (fact := shown_fact(path, node)) is not None}
    return {node: fact for node, fact in found.items() if fact is not None} | shown, damaged


def shown_fact(path: Location, node: str) -> dict[str, Any] | None:
    """Read the fact that a group, a column or an image shows; None where it is damaged, too."""
    variable, place = variable_of(node), zarr_store(path)
    if node == OWN_TEMPLATE:
        # It is built again.
        return {"key": ""}
    try:
        if node == ARCHIVE_OUTCOMES:
            told = zip(*(read_whole(open_array(place, name)) for name in ("study", *schema.OUTCOME)), strict=True)
            return {VALUES: [list(one) for one in told if one[3] == ARCHIVE]}
        attributes = {ATTRIBUTES: _shown_attributes(path, node)}
        if variable is None:
            return attributes
        values = read_whole(open_array(place, node))
        if variable not in (schema.ATLAS, schema.TEMPLATE):
            return column_fact(variable, values)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None
    own = {key: value for key, value in attributes[ATTRIBUTES].items() if key not in layout.attributes_of(variable)}
    return {ATTRIBUTES: own, SHA256: values_sha256(values)}


def _shown_attributes(path: Location, node: str) -> dict[str, Any]:
    """Read the attributes of a group or an array, where these are damaged from the copy in the root."""
    try:
        told = json.loads(location.read(path / metadata_of(node))[0])
    except (OSError, ValueError):
        told = json.loads(location.read(path / METADATA)[0])["consolidated_metadata"]["metadata"][node]
    return dict(told["attributes"])


def make_shadow(path: Location, facts: Mapping[str, Mapping[str, Any]]) -> Shadow:
    """Make the files of a store again.

    Parameters
    ----------
    path : Path or S3Location
        The store; of its arrays only those are read of which the ledger keeps a hash.
    facts : mapping
        By path of the group or array.
    """
    studies = [study for study in facts.get("study", {VALUES: []})[VALUES] if study]
    files: dict[str, Any] = {}
    root = facts[ROOT][ATTRIBUTES]
    made = Store.in_memory(files, root["granule_studies"])
    made.grow(studies)
    for node in sorted(facts, key=lambda node: (variable_of(node) is not None, node)):
        # Of a model whose group nothing tells any more, no column can be shown.
        if node not in OF_NO_ARRAY and (variable_of(node) is None or node.rpartition("/")[0] in facts):
            made.show(node, facts[node])
    fold_imaging_tables(made, Ledger(path), root, facts.get(ARCHIVE_OUTCOMES, {}).get(VALUES, ()))
    learned = {model: fold_explained(made, Ledger(path), model) for model in made.models}
    made.consolidate()
    content = {name: buffer.to_bytes() for name, buffer in files.items()}
    return Shadow(studies, content, facts, learned)


def fold_imaging_tables(store: Store, ledger: Ledger, attributes: Mapping[str, Any], excluded: Iterable[Any]) -> None:
    """Write the tables that the imaging stages fill, a stage after the other: a row's values are many.

    Parameters
    ----------
    store : Store
        Whose tables are written.
    ledger : Ledger
        Whose rows are told.
    attributes : mapping
        Of the root: `stages` and the limits of flags.
    excluded : iterable
        What the archive itself says became of studies: pseudonym and `Outcome`.
    """
    studies, limits = store.studies, limits_of(attributes)
    outcomes = pending_outcomes(studies)
    for stage, identity in attributes.get("stages", {}).items():
        rows = ledger.rows(ledger.keys(stage, identity["digest"]), discard=store.facts is not None)
        store.write_table(fold_stage(stage, rows, studies, limits, outcomes))
    for study, *outcome in excluded:
        outcomes.add_outcome(study, Outcome(*outcome))
    if attributes.get("stages"):
        store.write_table(outcomes.arrays)


def fold_explained(store: Store, ledger: Ledger, model: str) -> dict[str, Any]:
    """Write the tables that explaining fills, and give what a sign of relevance means; nothing before it is explained.

    As long as too few studies are explained, it is what training found.
    """
    group, attributes = f"relevance/{model}", store.model_attributes(model)
    if "digest" not in attributes:
        return {}
    rows = ledger.rows(ledger.keys(f"explain/{model}", attributes["digest"]), discard=store.facts is not None)
    split, labels = store.read_table("split", group), store.read_table("label")
    usual = json_attribute(attributes, "card").get("orientation")
    columns, learned = explained_columns(store.studies, rows, split, labels, usual)
    store.write_table({name: values for name, values in columns.items() if name != "split"}, group)
    return learned


def refresh(store: Store) -> None:
    """Write all metadata again where another version of datbatch or of zarr wrote them, with columns that are new."""
    if store.attributes.get(layout.MADE_WITH) != layout.made_with():
        facts, _ = sound_facts(store.path)
        root = {ATTRIBUTES: {**facts[ROOT][ATTRIBUTES], layout.MADE_WITH: layout.made_with()}}
        for name, content in make_shadow(store.path, {**facts, ROOT: root}).files.items():
            if name.endswith(METADATA) and name != METADATA:
                location.write(store.path / name, content)
        store.set_attributes(root[ATTRIBUTES])
        store.consolidate()


class Overlay(WrapperStore[Any]):
    """A store whose metadata come from its shadow, so that its chunks can be read whatever happened to them."""

    def __init__(self, path: Location, shadow: Shadow) -> None:
        super().__init__(
            LocalStore(path, read_only=True) if isinstance(path, Path) else zarr_store(path, read_only=True)
        )
        self._shadow = shadow

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Read a file."""
        if key.endswith(METADATA):
            content = self._shadow.files.get(key)
            return None if content is None else prototype.buffer.from_bytes(content)
        return await super().get(key, prototype, byte_range)
