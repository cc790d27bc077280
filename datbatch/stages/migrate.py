"""`datbatch migrate`: a store of an earlier layout brought to the present one; nothing is computed again.

Each step may be called again after a kill at any moment. The layout is written last: until then the store can be read,
and no other command writes to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from datbatch import location, schema
from datbatch.archive.origin import read_manifest
from datbatch.classifier.folder import NORMAL_RANGE_FILE
from datbatch.cohort.envelope import bears_digest, wrap
from datbatch.cohort.facts import ATTRIBUTES, Facts, each
from datbatch.cohort.fold import ARCHIVE_OUTCOMES, FINAL_STAGE, FOLDED, OWN_TEMPLATE, limits_of, stamp_of
from datbatch.cohort.layout import LAYOUT
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.lock import sole_writer
from datbatch.cohort.record import recorded_command
from datbatch.cohort.shadow import refresh, shown_fact
from datbatch.cohort.store import Store, models_path
from datbatch.config import Config, QualityConfig, digest
from datbatch.errors import CorruptStoreError, DatbatchError, StoreError
from datbatch.files import write_whole
from datbatch.imaging import WITHOUT_FIGURE, beyond_limits
from datbatch.location import Location, beside
from datbatch.norms import KeptRange
from datbatch.study.space import as_imaged

_MEND_FIRST = "Mend it with `datbatch verify COHORT --repair` of the version that made the store, then migrate again."
_OBJECT = re.compile(r"ledger/.+/\d[^/]*\.json|runs/\d[^/]*\.json")
_TOGETHER = 16
"""Objects that are moved at a time: on S3 each takes a while, whatever its size."""


@dataclass(frozen=True)
class Migrated:
    """What `datbatch migrate` found and left."""

    before: int
    """Layout of the store."""
    layout: int


def migrate_cohort(cohort: Location) -> Migrated:
    """Bring a store to the present layout; one that has it is left as it is.

    Raises
    ------
    StoreError
        When there is no store, or its layout is a later one or too old.
    """
    with sole_writer(cohort):
        store = Store(cohort)
        before = store.layout
        if before < schema.LAYOUT_VERSION:
            with recorded_command(cohort, "migrate", as_imaged(store, Config()), layout=before):
                for layout in range(before, schema.LAYOUT_VERSION):
                    for step in STEPS[layout]:
                        step(store)
                # Before the layout says that there is a list of objects, there is one.
                store.consolidate()
                store.set_attributes({LAYOUT: schema.LAYOUT_VERSION})
                store.consolidate()
        elif Facts(cohort).unfinished():
            # Killed after its last step.
            store.consolidate()
    return Migrated(before, schema.LAYOUT_VERSION)


def _take_out_limits(store: Store) -> None:
    """Move what the imaging stages did to digests that cover no limits of flags; rows keep no flags of these."""
    ledger, before = Ledger(store.path), store.attributes.get("stages", {})
    after, limits = _without_limits(before), limits_of(store.attributes)

    def move(key: GranuleKey) -> None:
        # What is damaged proves nothing there either: it is computed again.
        if (rows := ledger.read(key)) is not None:
            moved = replace(key, digest=after[key.stage]["digest"])
            ledger.commit(moved, [_without_flags(row, limits) for row in rows])

    if after != before:
        keys = [key for name, identity in before.items() for key in ledger.keys(name, identity["digest"])]
        with ThreadPoolExecutor(_TOGETHER) as pool:
            list(pool.map(move, keys))
        _name_imaging(store, before[FINAL_STAGE]["digest"], after[FINAL_STAGE]["digest"])
        store.set_attributes({"stages": after, FOLDED: _stamp(store, before, after, limits)})
    for name, identity in after.items():
        ledger.retire(name, identity["digest"], ledger.names(name, identity["digest"]))


def _without_limits(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Give the identities of the imaging stages as layout 3 has them, whatever version of the code made them."""
    found: dict[str, Any] = {}
    gone = vars(QualityConfig()).keys() - set(WITHOUT_FIGURE)
    for name in (name for name in ("reconstruct", "register", FINAL_STAGE) if name in stages):
        parameters = {key: value for key, value in stages[name]["parameters"].items() if key not in gone}
        upstream = {one: found[one]["digest"] for one in stages[name]["upstream"]}
        content = {"version": stages[name]["version"], "parameters": parameters, "upstream": upstream}
        found[name] = {"digest": digest({"stage": name, **content}), **content}
    return found


def _without_flags(row: Row, limits: QualityConfig) -> Row:
    """Leave out the flags that the figures of the same row tell."""
    if "flags" not in row.values:
        return row
    beyond = beyond_limits(row.values, limits)
    own = " ".join(code for code in row.values["flags"].split() if code not in beyond)
    return replace(row, values={**row.values, "flags": own})


def _name_imaging(store: Store, before: str, after: str) -> None:
    """Let models and kept normal ranges name the imaging that they are of by its new digest."""
    for model in store.models:
        if store.model_attributes(model).get(FINAL_STAGE) == before:
            store.set_attributes({FINAL_STAGE: after}, f"relevance/{model}")
    for path in models_path(store.path).rglob(NORMAL_RANGE_FILE):
        with suppress(OSError, UnicodeDecodeError, DatbatchError):
            kept = KeptRange.from_json(path.read_text(encoding="utf-8"))
            if kept.imaging == before:
                write_whole(path, replace(kept, imaging=after).to_json().encode())


def _stamp(store: Store, before: Mapping[str, Any], after: Mapping[str, Any], limits: QualityConfig) -> str:
    """Say anew what the tables follow from; nothing, so that the next run folds them, where the manifest is away."""
    try:
        manifest = read_manifest(store.path)
    except StoreError:
        return ""
    version = str(store.attributes["datbatch_version"])
    old, new = ([stages[name]["digest"] for name in after] for stages in (before, after))
    known = store.attributes.get(FOLDED) == stamp_of(manifest, old, None, version)
    return stamp_of(manifest, new, limits, version) if known else ""


def _tell_facts(store: Store) -> None:
    """Write to the ledger what attributes and columns alone said, and let every object bear its digest."""
    path = store.path
    tables: dict[str, tuple[schema.Variable, ...]] = {"": (*schema.STUDY_TABLE, schema.ATLAS, schema.TEMPLATE)}
    tables |= {f"relevance/{model}": schema.RELEVANCE_TABLE for model in store.models}
    tables |= {schema.NORMAL_RANGE: schema.NORMAL_RANGE_TABLE} if store.has_normal_range else {}
    columns = [
        f"{group}/{one.name}".lstrip("/") for group, table in tables.items() for one in table if not one.is_folded
    ]
    for node in (*tables, *(node for node in columns if store.has_table(node)), ARCHIVE_OUTCOMES):
        fact = shown_fact(path, node)
        if fact is None:
            raise CorruptStoreError(f"{node or 'the root of the store'} cannot be read", _MEND_FIRST)
        fact.get(ATTRIBUTES, {}).pop("sealed", None)
        store.tell(node, fact)
    with suppress(OSError, ValueError):
        record = json.loads(beside(path, "template.json").read_bytes())
        store.tell(OWN_TEMPLATE, record)
    objects = [name for name in location.names(path) if _OBJECT.match(name)]
    each(objects, partial(_sign, path))
    location.remove(path / "ledger/seal.json")
    refresh(store)


def _sign(path: Location, place: str) -> None:
    """Let an object of the time before they bore their digest bear it."""
    data = location.read(path / place)[0]
    with suppress(ValueError):
        if not bears_digest(data):
            content = json.loads(data)
            location.write(path / place, wrap(place, content if isinstance(content, dict) else {"rows": content}))


STEPS: Mapping[int, tuple[Callable[[Store], None], ...]] = {2: (_take_out_limits,), 3: (_tell_facts,)}
"""What brings a store to the next layout, in order, by the layout that it has."""
