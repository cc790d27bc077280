"""The space of a cohort: template and atlas, from a user's files, from the store, or from a model's folder.

A user's file is read once, by the driver. The store keeps what it was made with. Store and ledger name a file by the
digest of its content, never by its path.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datbatch import schema
from datbatch.classifier.folder import ModelFolder
from datbatch.config import KNOWN_BY, Config, QuantifyConfig, canonical_json, digest
from datbatch.errors import AtlasError, ModelError, StoreError, TemplateError
from datbatch.imaging import (
    Atlas,
    Volume,
    analytic_atlas,
    atlas_from_labels,
    load_template,
    read_atlas,
    read_template,
    template_on_grid,
    write_labels,
)
from datbatch.imaging.nifti import write_nifti
from datbatch.location import Location

if TYPE_CHECKING:
    # Zarr is loaded where a store is opened: a single study has none and need not wait for it.
    from datbatch.cohort.store import Store


@dataclass(frozen=True, eq=False)
class Space:
    """What studies are brought to and divided into, on the store's grid."""

    template: Volume
    atlas: Atlas


def template_digest(name: str) -> str:
    """Give the digest of the template that a parameter names: by path, by digest, or, empty, the shipped one."""
    return name.removeprefix(KNOWN_BY) if name.startswith(KNOWN_BY) else _digest(_named_template(name))


def atlas_digest(config: QuantifyConfig) -> str:
    """Give the digest of the atlas that the parameters name: by path, by digest, or, empty, the analytic one."""
    name = config.atlas
    return name.removeprefix(KNOWN_BY) if name.startswith(KNOWN_BY) else _named_atlas(config).digest


def recorded(config: Config) -> Config:
    """Replace the paths of files by the digests of their content: paths may hold names."""
    register, quantify = config.register, config.quantify
    if register.template:
        register = replace(register, template=KNOWN_BY + template_digest(register.template))
    if quantify.atlas:
        quantify = replace(quantify, atlas=KNOWN_BY + atlas_digest(quantify), atlas_labels={})
    return replace(config, register=register, quantify=quantify)


def configured_space(config: Config) -> Space:
    """Read the template and the atlas that the parameters name by path.

    A `TemplateError`, `AtlasError` or `GridMismatchError` says what is wrong with a file.
    """
    return Space(_named_template(config.register.template), _named_atlas(config.quantify))


def store_space(store: Location, config: Config) -> Space:
    """Give the template and the atlas that a store was made with; `config` as `recorded` gives it.

    A `StoreError` says that the store holds others.
    """
    name = config.register.template
    return _kept_space(store, template_digest(name) if name else "", atlas_digest(config.quantify))


@lru_cache(maxsize=2)
def _kept_space(store: Location, template: str, atlas: str) -> Space:
    """Give the same object each time: measurements of a template are cached by it."""
    return Space(_store_template(store, template) if template else load_template(), store_atlas(store, atlas))


@lru_cache(maxsize=2)
def store_atlas(store: Location, wanted: str) -> Atlas:
    """Give the atlas of a store by its digest; a `StoreError` says that the store holds another."""
    if wanted == analytic_atlas().digest:
        return analytic_atlas()
    from datbatch.cohort.store import Store

    atlas = atlas_from_labels(Store(store).read_image(schema.ATLAS))
    if atlas.digest != wanted:
        raise StoreError("the labels in the store are not those that it was made with", _RUN_AGAIN)
    return atlas


def used_atlas(store: Store) -> str:
    """Give the digest of the atlas that a store's studies were quantified with."""
    parameters = store.attributes.get("stages", {}).get(schema.QUANTIFY, {}).get("parameters", {})
    return str(parameters.get("atlas", analytic_atlas().digest))


def write_space(store: Store, space: Space, *, again: bool = False) -> None:
    """Keep template and atlas in the store, where they are not yet; with `again` write them anew."""
    values, names = list(range(1, len(schema.ATLAS_LABELS) + 1)), " ".join(schema.ATLAS_LABELS)
    described = {"flag_values": values, "flag_meanings": names, "digest": space.atlas.digest}
    store.write_image(schema.ATLAS, space.atlas.labels, described, again=again)
    store.write_image(schema.TEMPLATE, space.template.data, {"digest": _digest(space.template)}, again=again)


def as_imaged(store: Store, config: Config) -> Config:
    """Take the parameters of the imaging stages from the store: a model is for uptake that was made with these.

    Paths are replaced by digests.
    """
    text = store.attributes.get("config")
    if text is None:
        return recorded(config)
    made = Config.from_dict(json.loads(text))
    sections = ("archive", "reconstruct", "quality", "register", "quantify")
    return replace(config, **{name: getattr(made, name) for name in sections})


def keep_in_model(folder: ModelFolder, store: Location, config: Config) -> None:
    """Put a user's own template and atlas beside a model's weights, so that single studies need no store."""
    space = store_space(store, config)
    if config.register.template:
        write_nifti(folder.template_file, space.template.data, space.template.affine)
    if config.quantify.atlas:
        write_labels(folder.atlas_file, space.atlas)


def model_space(folder: ModelFolder, config: Config) -> Space:
    """Give the template and the atlas of a model's studies; a `ModelError` says that its folder lacks them."""
    template, atlas = load_template(), analytic_atlas()
    if config.register.template:
        template = _of_model(lambda: template_on_grid(read_template(folder.template_file)))
        _require_model(_digest(template) == template_digest(config.register.template))
    if config.quantify.atlas:
        atlas = _of_model(lambda: read_atlas(folder.atlas_file))
        _require_model(atlas.digest == atlas_digest(config.quantify))
    return Space(template, atlas)


_RUN_AGAIN = "Call `datbatch run ARCHIVE COHORT` again."


def _of_model(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (AtlasError, TemplateError) as error:
        raise ModelError(f"the model's own template or atlas is missing or damaged: {error.reason}") from error


def _require_model(same: bool) -> None:
    if not same:
        raise ModelError("template or atlas beside the model are not those that its card describes")


def _store_template(store: Location, wanted: str) -> Volume:
    from datbatch.cohort.store import Store

    template = Volume(Store(store).read_image(schema.TEMPLATE), schema.grid_affine())
    if _digest(template) != wanted:
        raise StoreError("the template in the store is not the one that it was made with", _RUN_AGAIN)
    return template


def _named_template(name: str) -> Volume:
    return _own_template(Path(name), _changed(Path(name))) if name else load_template()


def _named_atlas(config: QuantifyConfig) -> Atlas:
    if not config.atlas:
        return analytic_atlas()
    path = Path(config.atlas)
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    changed = tuple(_changed(path.with_name(name)) for name in (path.name, f"{stem}.tsv", f"{stem}.json"))
    return _own_atlas(path, changed, canonical_json(config.atlas_labels))


@lru_cache(maxsize=2)
def _own_template(path: Path, _: int) -> Volume:
    return template_on_grid(read_template(path))


@lru_cache(maxsize=2)
def _own_atlas(path: Path, _: tuple[int, ...], labels: str) -> Atlas:
    return read_atlas(path, json.loads(labels))


def _changed(path: Path) -> int:
    """Give the time of a file's last change, so that a cached image is read again when its file is replaced."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _digest(template: Volume) -> str:
    return digest([template.data.tobytes().hex(), template.affine.tolist()])
