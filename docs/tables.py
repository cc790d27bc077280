"""Write the tables of the pages that follow from the code: `python docs/tables.py` brings them up to date."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_type_hints

import zarr
from zarr.storage import MemoryStore

from datbatch import schema
from datbatch.archive.codes import explain_code
from datbatch.cohort import layout
from datbatch.commands.config import as_toml, descriptions
from datbatch.config import Config, StoreConfig
from datbatch.errors import by_code
from datbatch.ranges import allowed

HERE = Path(__file__).parent
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(list(head))]
    return "\n".join([*lines, *(f"| {' | '.join(cell.replace('|', ',') for cell in row)} |" for row in rows)])


def _variables(variables: Iterable[schema.Variable]) -> str:
    rows = [
        (
            f"`{v.name}`",
            ", ".join(v.dims),
            v.dtype,
            v.description + (f" ({v.units})" if v.units not in ("", "1") else ""),
            v.writer,
        )
        for v in variables
    ]
    return _table(("name", "dimensions", "type", "what", "filled by"), rows)


def root() -> str:
    """List the variables of the root."""
    return _variables((schema.UPTAKE, schema.ATLAS, schema.TEMPLATE, *schema.STUDY_TABLE))


def storage() -> str:
    """List how each kind of array lies on disk, read from arrays that the store's own code makes."""
    group, granule = zarr.create_group(MemoryStore(), zarr_format=3), StoreConfig().granule_studies
    layout.create_volumes(group, schema.UPTAKE, granule, granule)
    layout.create_volumes(group, schema.RELEVANCE_MAP, granule, granule)
    layout.create_image(group, schema.TEMPLATE)
    layout.create_table(group, schema.STUDY_TABLE[0], granule)
    rows = []
    for kind, name in (
        ("`uptake`", schema.UPTAKE.name),
        ("`relevance/<model>/map`", schema.RELEVANCE_MAP.name),
        ("images (`labels`, `template`)", schema.TEMPLATE.name),
        ("tables", schema.STUDY_TABLE[0].name),
    ):
        array = group[name]
        blosc = next(codec for codec in array.compressors if hasattr(codec, "cname"))
        size = " x ".join(map(str, array.chunks)) if array.ndim > 1 else f"{array.chunks[0]:,} rows or fewer"
        shard = f"{array.shards[0]} studies" if array.shards else "none"
        rows.append((kind, size, shard, f"Blosc {blosc.cname.value}, {blosc.shuffle.value}"))
    return _table(("array", "chunk", "shard (default)", "codec"), rows)


def relevance() -> str:
    """List the variables of a model's group."""
    return _variables((schema.RELEVANCE_MAP, *schema.RELEVANCE_TABLE))


def normal_range() -> str:
    """List the variables of the normal range."""
    return _variables(schema.NORMAL_RANGE_TABLE)


def errors() -> str:
    """List every code that an error can have, with its meaning and remedy."""
    rows = [(f"`{code}`", *explain_code(code)) for code in sorted(by_code()) if code != "error"]
    return _table(("code", "what it means", "what to do"), rows)


def parameters() -> str:
    """List every key of a parameter file."""
    usual = Config().to_dict()
    rows = [
        (f"`{section}.{key}`", f"`{as_toml(usual[section][key])}`", allowed(hint), descriptions(kind)[key])
        for section, kind in get_type_hints(Config).items()
        for key, hint in get_type_hints(kind, include_extras=True).items()
    ]
    return _table(("key", "default", "allowed", "what"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "root": root,
    "storage": storage,
    "relevance": relevance,
    "normal_range": normal_range,
    "errors": errors,
    "parameters": parameters,
}


def with_tables(page: str) -> str:
    """Replace the tables of a page by those of the code."""
    return BLOCK.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", page)


if __name__ == "__main__":
    for path in sorted(HERE.glob("*.md")):
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
