"""Does the store hold what the ledger says? Volumes by their recorded hash, all other files by making them again.

And what lies in it that belongs to nothing: left by writers that were killed, or put there by somebody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datbatch import location, schema
from datbatch.cohort.attributes import stored_card
from datbatch.cohort.facts import (
    ATTRIBUTES,
    CHUNK,
    FACTS,
    LEDGER,
    LISTING,
    METADATA,
    ROOT,
    RUNS,
    SHA256,
    UNFINISHED,
    VALUES,
    Facts,
    each,
    fact_place,
    holds_volumes,
    is_hashed,
    node_of,
    values_sha256,
    variable_of,
)
from datbatch.cohort.layout import MADE_WITH, made_with
from datbatch.cohort.ledger import GranuleKey, Ledger, Row, Runs
from datbatch.cohort.shadow import Overlay, Shadow, make_shadow, sound_facts
from datbatch.cohort.shard import open_array, read_whole, volume_sha256
from datbatch.cohort.store import Store
from datbatch.errors import StoreError
from datbatch.location import Location

TRUST = "trust/"
"""Begins the stages of `datbatch trust`, whose objects are of one study each."""
_TEMPORARY = re.compile(r".*\.partial|\.ledger-[0-9a-f]+|\.[\w-]+\.json\.\w+")
_UNREADABLE = (ValueError, RuntimeError, OSError, KeyError, MemoryError)


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was recorded."""

    array: str
    """Path of the array, of its metadata (`.../zarr.json`), of a record or a fact, or `ledger/<stage>`."""
    study: str
    """Pseudonym; empty where more than one study is concerned."""
    kind: str
    """`unreadable` (checksum or codec fails), `missing`, `changed`, or `unrecorded` (nobody wrote it)."""
    key: GranuleKey | None
    """Ledger object to forget, so that the granule is computed again; None where none is concerned."""

    @property
    def granule(self) -> int | None:
        """Number of the granule; None where more than one is concerned."""
        return None if self.key is None or self.key.stage.startswith(TRUST) else self.key.granule


@dataclass(frozen=True)
class Orphan:
    """A file of the store that nothing refers to."""

    name: str
    """Path in the store."""
    kind: str
    """`unfinished` (a writer was killed), `superseded` (of no study or stage of today), or `unknown` (not ours)."""

    @property
    def ours(self) -> bool:
        """Whether datbatch wrote it, so that it may be removed."""
        return self.kind != "unknown"


@dataclass(frozen=True)
class Verified:
    """What a comparison of a store with its ledger found."""

    volumes: int
    """Volumes read."""
    damages: list[Damage]
    orphans: list[Orphan]
    """Files that belong to nothing; not looked for while a command is at work, whose unfinished files they may be."""
    shadow: Shadow | None
    """What all files but volumes should hold; None where the ledger does not tell it any more."""


def verify_store(path: Location, *, at_work: bool = False, progress: Callable[[int], None] | None = None) -> Verified:
    """Read everything and compare it with its record; nothing is written.

    Parameters
    ----------
    path : Path or S3Location
        The store.
    at_work : bool
        Whether a command is at work: the tables are behind the ledger then, and are not compared.
    progress : callable, optional
        Is told how many volumes were read since the last call.

    Raises
    ------
    StoreError
        When there is no store.
    """
    names = set(location.names(path))
    if not names & {METADATA, fact_place(ROOT)}:
        raise StoreError("there is no cohort store at the given path")
    facts, doubted = sound_facts(path)
    damages = [Damage(place, "", _absence(place, names), None) for place in map(fact_place, doubted)]
    damages += _listing_damages(path, names, at_work=at_work)
    if ROOT not in facts or "study" in set(doubted) - facts.keys():
        return Verified(0, damages + [_unreadable(key) for key, rows in _objects(path) if rows is None], [], None)
    shadow = make_shadow(path, facts)
    comparison = _Comparison(path, names, shadow)
    count, wrong = comparison.volumes(_objects(path), progress)
    damages = [_with_study(damage, shadow.studies) for damage in (*damages, *wrong)]
    if at_work:
        return Verified(count, damages, [], shadow)
    unfinished = Facts(path).unfinished()
    lost = comparison.positions(d.key for d in damages if d.key is not None and d.array.startswith(f"{LEDGER}/"))
    damages += comparison.files(unfinished, lost)
    for model, learned in {} if lost else shadow.learned.items():
        stored = stored_card(facts[f"relevance/{model}"][ATTRIBUTES]).get("orientation")
        if learned and learned != stored and not unfinished:
            damages.append(Damage(f"relevance/{model}", "", "changed", None))
    return Verified(count, damages, comparison.orphans({damage.array for damage in damages} | unfinished), shadow)


def remove_orphans(path: Location, orphans: list[Orphan]) -> int:
    """Remove what datbatch itself left; gives how many files that were."""
    ours = [orphan for orphan in orphans if orphan.ours]
    for orphan in ours:
        location.remove(path / orphan.name)
    return len(ours)


def put_back(path: Location, shadow: Shadow, damages: Iterable[Damage]) -> None:
    """Write again what the ledger tells of damaged files, and forget the granules and records that are damaged.

    Tables that follow from forgotten granules are left to the command that computes these again.
    """
    store_files, places = location.names(path), {damage.array for damage in damages}
    keys = [damage.key for damage in damages if damage.key is not None]
    for node in shadow.facts:
        if fact_place(node) in places:
            Facts(path).write(node, shadow.facts[node])
    Ledger(path).remove(keys)
    Runs(path).remove({place for place in places if place.startswith(f"{RUNS}/")})
    for name in {*store_files, *shadow.files}:
        node = name[: match.start()] if (match := CHUNK.search(name)) else name
        variable = variable_of(node)
        left = holds_volumes(node) or (variable is not None and variable.is_folded and keys)
        if node in places and not left:
            if name in shadow.files:
                location.write(path / name, shadow.files[name])
            elif match and not (variable is not None and is_hashed(variable)):
                location.remove(path / name)
    Store(path).consolidate()


def recorded_volumes(path: Location) -> int:
    """Count the volumes that the ledger should record, one for each study of a granule, without reading it."""
    facts, ledger = Facts(path), Ledger(path)
    studies = len((facts.read("study") or {VALUES: ()})[VALUES])
    size = (facts.read(ROOT) or {ATTRIBUTES: {"granule_studies": 1}})[ATTRIBUTES]["granule_studies"]
    stages = [one for one in ledger.stages() if one[0].partition("/")[0] in (schema.QUANTIFY, schema.EXPLAIN)]
    return sum(ledger.recorded_studies(*one, granule_studies=size, studies=studies) for one in stages)


def _with_study(damage: Damage, studies: list[str]) -> Damage:
    """Name the study of an object that is of one study alone."""
    if damage.key is None or not damage.key.stage.startswith(TRUST):
        return damage
    return replace(damage, study=studies[damage.key.granule])


def _absence(place: str, names: Container[str]) -> str:
    return "unreadable" if place in names else "missing"


def _unreadable(key: GranuleKey) -> Damage:
    return Damage(f"{LEDGER}/{key.stage}", "", "unreadable", key)


def _listing_damages(path: Location, names: Collection[str], *, at_work: bool) -> list[Damage]:
    """Look at the records of commands, and at the list of objects and records: what it names must be there."""
    listed = Facts(path).listed()
    damages = [] if listed is not None else [Damage(LISTING, "", _absence(LISTING, names), None)]
    damages += [Damage(place, "", "unreadable", None) for place in Runs(path).damaged()]
    for place in sorted((listed or set()).difference(names)):
        folder, _, file = place.rpartition("/")
        if folder == RUNS:
            damages.append(Damage(place, "", "missing", None))
        elif not at_work and not place.startswith(f"{FACTS}/"):
            stage, _, digest = folder.removeprefix(f"{LEDGER}/").rpartition("/")
            damages.append(Damage(f"{LEDGER}/{stage}", "", "missing", GranuleKey.of(stage, digest, file)))
    return damages


def _objects(path: Location) -> Iterator[tuple[GranuleKey, list[Row] | None]]:
    ledger = Ledger(path)
    for stage, digest in ledger.stages():
        for key in ledger.keys(stage, digest):
            yield key, ledger.read(key)


class _Comparison:
    """The files of a store beside those of its shadow."""

    def __init__(self, path: Location, names: Collection[str], shadow: Shadow) -> None:
        self._path, self._names, self._shadow = path, names, shadow
        self._overlay = Overlay(path, shadow)
        self._nodes = {name.removesuffix(METADATA).rstrip("/") for name in shadow.files if name.endswith(METADATA)}
        self._root = shadow.facts[ROOT][ATTRIBUTES]
        self._models = sorted(node.split("/")[1] for node in self._nodes if re.fullmatch("relevance/[^/]+", node))

    def positions(self, keys: Iterable[GranuleKey]) -> dict[str, set[int]]:
        """Give, by stage, the positions of studies of which the ledger cannot tell any more."""
        size, lost = self._root["granule_studies"], dict[str, set[int]]()
        for key in keys:
            of_granule = range(key.granule * size, min((key.granule + 1) * size, len(self._shadow.studies)))
            lost.setdefault(key.stage, set()).update(of_granule)
        return lost

    def volumes(
        self, objects: Iterable[tuple[GranuleKey, list[Row] | None]], progress: Callable[[int], None] | None
    ) -> tuple[int, list[Damage]]:
        """Compare every volume with its hash, and every study that has none with the absence of a volume.

        The rows of a large cohort are many: each object is read, compared and left.
        """
        position = {study: index for index, study in enumerate(self._shadow.studies)}
        current = {schema.QUANTIFY: schema.UPTAKE.name}
        current |= {f"{schema.EXPLAIN}/{m}": f"relevance/{m}/{schema.RELEVANCE_MAP.name}" for m in self._models}
        arrays = {array: open_array(self._overlay, array) for array in current.values()}
        count, damages = 0, []
        for key, rows in objects:
            damages += [_unreadable(key)] if rows is None else []
            wanted = {current[key.stage]: ""} if key.stage in current else {}
            for row in rows or ():
                count += len(row.sha256)
                for array, recorded in {**wanted, **row.sha256}.items():
                    kind = _compare_volume(arrays.get(array), position.get(row.study), recorded)
                    damages += [Damage(array, row.study, kind, key)] if kind else []
            if progress is not None:
                progress(sum(len(row.sha256) for row in rows or ()))
        return count, damages

    def files(self, unfinished: Container[str], lost: Mapping[str, set[int]]) -> list[Damage]:
        """Compare metadata, columns, images and coordinates; `lost` are positions that the ledger cannot tell of."""
        own = {name for name in self._names if self._node(name) in self._nodes} | self._shadow.files.keys()
        compared = sorted(
            name
            for name in own
            if self._node(name) not in unfinished and not (holds_volumes(self._node(name)) and _is_chunk(name))
        )
        found = each([name for name in compared if name in self._names], self._read)
        differing = [name for name in compared if found.get(name) != self._shadow.files.get(name)]
        damages = [
            Damage(name, "", "changed" if found.get(name) else _absence(name, self._names), None)
            for name in differing
            if name.endswith(METADATA) and not self._says_the_same(name, found.get(name))
        ]
        hashed = {node for node, fact in self._shadow.facts.items() if SHA256 in fact and node not in unfinished}
        for node in sorted(hashed | {self._node(name) for name in differing if _is_chunk(name)}):
            kind = self._compare_values(node, lost)
            if kind:
                files = [name for name in differing if self._node(name) == node and _is_chunk(name)]
                if any(name not in self._names for name in files) or (node in hashed and not files):
                    kind = "missing"
                elif node not in hashed and any(name not in self._shadow.files for name in files):
                    kind = "unrecorded"
                damages.append(Damage(node, "", kind, None))
        return damages

    def _node(self, name: str) -> str:
        found = node_of(name, self._nodes)
        return ROOT if found == "." and name == METADATA else found

    def _read(self, name: str) -> bytes | None:
        try:
            return location.read(self._path / name)[0]
        except OSError:
            return None

    def _says_the_same(self, name: str, found: bytes | None) -> bool:
        """Tell whether metadata differ only since another version wrote them, in other words or without new columns."""
        if self._root.get(MADE_WITH) == made_with():
            return False
        variable = variable_of(self._node(name))
        if found is None:
            return variable is not None and name not in self._names
        try:
            contents = [json.loads(found), json.loads(self._shadow.files[name])]
        except (ValueError, KeyError):
            return False
        for content in contents:
            content.pop("consolidated_metadata", None)
            if content.get("node_type") == "array":
                content.pop("attributes", None)
        return bool(contents[0] == contents[1])

    def _compare_values(self, node: str, lost: Mapping[str, set[int]]) -> str:
        """Compare the values of an array: other bytes may be of another version of the codec."""
        fact, variable, unknown = self._shadow.facts.get(node, {}), variable_of(node), set[int]()
        if variable is not None and variable.is_folded:
            source = schema.QUANTIFY if variable.writer == schema.STAGES else variable.writer
            unknown = lost.get(f"{source}/{node.split('/')[1]}" if source == schema.EXPLAIN else source, unknown)
        if SHA256 not in fact and not unknown and self._root.get(MADE_WITH) == made_with():
            # The same versions write the same bytes, and to decode damaged texts can take any memory.
            return "changed"
        try:
            found = read_whole(open_array(self._overlay, node))
        except _UNREADABLE:
            return "unreadable"
        if SHA256 in fact:
            return "" if values_sha256(found) == fact[SHA256] else "changed"
        wanted = read_whole(open_array(self._shadow.place(), node))
        known = np.delete(np.arange(len(found)), sorted(unknown))
        same = np.array_equal(found[known], wanted[known], equal_nan=found.dtype.kind == "f")
        return "" if same else "changed"

    def orphans(self, known: Container[str]) -> list[Orphan]:
        """List what belongs to nothing, but for what is `known` to be damaged or unfinished."""
        stages = {stage: identity["digest"] for stage, identity in self._root.get("stages", {}).items()}
        stages |= {
            f"{schema.EXPLAIN}/{m}": self._shadow.facts[f"relevance/{m}"][ATTRIBUTES].get("digest", "")
            for m in self._models
        }
        granules = -(-len(self._shadow.studies) // self._root["granule_studies"])
        kinds = {name: self._kind(name, known, stages, granules) for name in sorted(self._names)}
        return [Orphan(name, kind) for name, kind in kinds.items() if kind]

    def _kind(self, name: str, known: Container[str], stages: Mapping[str, str], granules: int) -> str:
        folder, _, file = name.rpartition("/")
        if _TEMPORARY.fullmatch(file) or "/.retired-" in name or ".partial/" in name:
            return "unfinished"
        top, node = name.split("/")[0], self._node(name)
        if name in (LISTING, UNFINISHED) or name in self._shadow.files or name.startswith(f"{FACTS}/"):
            return ""
        if top == LEDGER:
            return self._kind_of_object(folder.removeprefix(f"{LEDGER}/"), file, stages, granules)
        if top == RUNS:
            return "" if re.fullmatch(r"runs/\d{8}T\d{6}Z-[0-9a-f]{6}\.json", name) else "unknown"
        if node in known or name in known or (SHA256 in self._shadow.facts.get(node, {}) and _is_chunk(name)):
            return ""
        if holds_volumes(node) and _is_chunk(name):
            return "superseded" if int(re.split(r"[./]", name.removeprefix(f"{node}/"))[1]) >= granules else ""
        return "unknown"

    def _kind_of_object(self, folder: str, file: str, stages: Mapping[str, str], granules: int) -> str:
        stage, _, digest = folder.rpartition("/")
        number = re.fullmatch(r"(\d+)-[0-9a-f]+\.json", file)
        if number is None:
            return "unknown"
        if stage.startswith(TRUST):
            # One object for each study that was tried; which ones is the command's matter.
            return "" if stage.removeprefix(TRUST) in self._models else "superseded"
        return "" if stages.get(stage) == digest and int(number[1]) < granules else "superseded"


def _is_chunk(name: str) -> bool:
    return CHUNK.search(name) is not None


def _compare_volume(array: Any, index: int | None, recorded: str) -> str:
    if index is None:
        return "missing"
    try:
        found = volume_sha256(np.asarray(array[index]))
    except (*_UNREADABLE, IndexError, TypeError):
        return "unreadable"
    if found == recorded:
        return ""
    return "changed" if found and recorded else "missing" if recorded else "unrecorded"
