"""What lies in a store and belongs to nothing: left by writers that were killed, or put there by somebody."""

from __future__ import annotations

import re
from dataclasses import dataclass

from datbatch import location
from datbatch.cohort import ledger, runs, seal
from datbatch.cohort.store import Store
from datbatch.location import Location

_TEMPORARY = re.compile(r".*\.partial|\.ledger-[0-9a-f]+|\.[\w-]+\.json\.\w+")
_METADATA = seal.METADATA


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


def find_orphans(path: Location) -> list[Orphan]:
    """List what belongs to nothing; only while no writer is at work, whose unfinished files these may be."""
    store = Store(path)
    stages = {stage: identity["digest"] for stage, identity in store.attributes.get("stages", {}).items()}
    models = store.models
    stages |= {f"explain/{m}": store.model_attributes(m).get("digest", "") for m in models}
    granules = -(-len(store.studies) // store.granule_studies)
    found = []
    names = location.names(path)
    arrays = {name.removesuffix(f"/{_METADATA}") for name in names if name.endswith(f"/{_METADATA}")}
    for name in names:
        kind = _kind(name, arrays, stages, models, granules)
        found += [Orphan(name, kind)] if kind else []
    return found


def remove_orphans(path: Location, orphans: list[Orphan]) -> int:
    """Remove what datbatch itself left; gives how many files that were."""
    ours = [orphan for orphan in orphans if orphan.ours]
    for orphan in ours:
        location.remove(path / orphan.name)
    return len(ours)


def _kind(name: str, arrays: set[str], stages: dict[str, str], models: list[str], granules: int) -> str:
    folder, _, file = name.rpartition("/")
    if _TEMPORARY.fullmatch(file) or "/.retired-" in name or ".partial/" in name:
        return "unfinished"
    top = name.split("/")[0]
    if name == seal.NAME:
        return ""
    if top == ledger.FOLDER:
        return _ledger_kind(folder.removeprefix(f"{ledger.FOLDER}/"), file, stages, models, granules)
    if top == runs.FOLDER:
        return "" if re.fullmatch(r"runs/\d{8}T\d{6}Z-[0-9a-f]{6}\.json", name) else "unknown"
    if file == _METADATA:
        return ""
    array = seal.node_of(name, arrays)
    chunk = name.removeprefix(f"{array}/")
    if not seal.CHUNK.fullmatch(chunk):
        return "unknown"
    return "superseded" if seal.holds_volumes(array) and int(re.split(r"[./]", chunk)[1]) >= granules else ""


def _ledger_kind(folder: str, file: str, stages: dict[str, str], models: list[str], granules: int) -> str:
    stage, _, digest = folder.rpartition("/")
    number = re.fullmatch(r"(\d+)-[0-9a-f]+\.json", file)
    if number is None:
        return "unknown"
    if stage.startswith("trust/"):
        # One object for each study that was tried; which ones is the command's matter.
        return "" if stage.removeprefix("trust/") in models else "superseded"
    return "" if stages.get(stage) == digest and int(number[1]) < granules else "superseded"
