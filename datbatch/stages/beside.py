"""What belongs to a store and stands beside it, compared with what the store says: key, manifest, linkage, models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from datbatch import schema
from datbatch.archive import key_check, load_or_create_key
from datbatch.archive.origin import manifest_path, origin_path, origin_text, read_manifest, read_origin
from datbatch.archive.pseudonyms import key_text, linkage_text
from datbatch.classifier.folder import NORMAL_RANGE_FILE, ModelCard, ModelFolder, file_sha256
from datbatch.cohort.fold import FOLDED, limits_of, manifest_columns, stamp_of
from datbatch.cohort.store import Store, key_path, linkage_path, models_path
from datbatch.cohort.verify import Damage
from datbatch.config import canonical_json
from datbatch.errors import DatbatchError, ExposedFileError
from datbatch.files import read_private, write_whole
from datbatch.location import Location
from datbatch.norms import KeptRange
from datbatch.stages.imaging import KEY_CHECK
from datbatch.study.certainty import kept_decisions
from datbatch.study.imaging import IMAGING


def damages_beside(store: Store) -> list[Damage]:
    """Compare what stands beside a store, byte for byte where it follows from what is known.

    A file that is not there was kept back by whoever handed the store on.

    Parameters
    ----------
    store : Store
        One in which nothing is damaged.
    """
    found = []
    for path, is_sound in _files(store):
        if not path.is_file():
            continue
        try:
            kind = "" if is_sound() else "changed"
        except ExposedFileError:
            raise
        except (DatbatchError, OSError, ValueError, KeyError, TypeError):
            kind = "unreadable"
        found += [Damage(name_beside(store, path), "", kind, None)] if kind else []
    return found


def name_beside(store: Store, path: Path) -> str:
    """Name a file beside the store; paths may hold names, so it is that from the store's folder on."""
    return path.relative_to(models_path(store.path).parent).as_posix()


def _files(store: Store) -> Iterator[tuple[Path, Callable[[], bool]]]:
    cohort = store.path
    yield key_path(cohort), partial(_is_key, store)
    yield origin_path(cohort), partial(_is_origin, cohort)
    yield manifest_path(cohort), partial(_is_manifest, store)
    yield linkage_path(cohort), partial(_is_linkage, store)
    if store.has_normal_range:
        yield models_path(cohort) / NORMAL_RANGE_FILE, partial(_is_normal_range, store)
    for model in store.models:
        folder = ModelFolder(models_path(cohort) / model)
        yield folder.card_file, partial(_is_card, store, folder)
        yield folder.weights_file, partial(_are_weights, store, folder)
        if (store.read_table("predicted", f"relevance/{model}") != "").any():
            yield folder.split_file, partial(_is_split, store, folder)
        if "evaluation" in store.model_attributes(model):
            yield folder.evaluation_file, partial(_is_evaluation, store, folder)


def _is_key(store: Store) -> bool:
    key = load_or_create_key(key_path(store.path))
    check = key_check(key)
    return key_path(store.path).read_bytes() == key_text(key) and store.attributes.get(KEY_CHECK, check) == check


def _is_origin(cohort: Location) -> bool:
    read_origin(cohort)
    content = origin_path(cohort).read_bytes()
    return content == origin_text(json.loads(content))


def _is_manifest(store: Store) -> bool:
    manifest = read_manifest(store.path)
    if manifest_path(store.path).read_bytes() != manifest.to_json():
        return False
    wanted = manifest_columns(manifest) | {"study": np.asarray([e.pseudonym for e in manifest.entries], dtype=object)}
    columns = {name: store.read_table(name) for name in wanted if store.has_table(name)}
    stages = [str(store.attributes["stages"][stage.name]["digest"]) for stage in IMAGING]
    # Of tables that are not complete it is not known from which manifest they will be.
    stamp = store.attributes.get(FOLDED) or None
    limits = None if store.layout < schema.LAYOUT_VERSION else limits_of(store.attributes)
    if stamp not in (None, stamp_of(manifest, stages, limits, str(store.attributes["datbatch_version"]))):
        return False
    return all(
        np.array_equal(found, wanted[name], equal_nan=found.dtype.kind == "f") for name, found in columns.items()
    )


def _is_linkage(store: Store) -> bool:
    manifest = manifest_path(store.path)
    if not manifest.is_file():
        return True
    return read_private(linkage_path(store.path)) == linkage_text(read_manifest(store.path))


def _is_normal_range(store: Store) -> bool:
    content = (models_path(store.path) / NORMAL_RANGE_FILE).read_text(encoding="utf-8")
    kept = KeptRange.from_json(content)
    fit = store.group_attributes(schema.NORMAL_RANGE).get("fit")
    return content == kept.to_json() and fit in (None, canonical_json(kept.fitted.to_dict(schema.MEASURES)))


def _stored_card(store: Store, model: str) -> ModelCard:
    return ModelCard.from_json(store.model_attributes(model)["card"])


def _is_card(store: Store, folder: ModelFolder) -> bool:
    # Explaining learns the orientation anew, from more studies.
    wanted = replace(_stored_card(store, folder.name), orientation=folder.card().orientation)
    return folder.card_file.read_bytes() == wanted.to_bytes()


def _are_weights(store: Store, folder: ModelFolder) -> bool:
    return file_sha256(folder.weights_file) == _stored_card(store, folder.name).weights_sha256


def _is_split(store: Store, folder: ModelFolder) -> bool:
    split = folder.split()
    parts = {study: part for study, part in split.items() if part}
    written = folder.split_file.read_bytes() == canonical_json(split).encode()
    return written and split.keys() <= set(store.studies) and parts == stored_split(store, folder.name)


def stored_split(store: Store, model: str) -> dict[str, str]:
    """Give the split of a model as the store has it, without the studies that are in no set."""
    parts = store.read_table("split", f"relevance/{model}")
    return {study: str(part) for study, part in zip(store.studies, parts, strict=True) if part}


def write_from_store(store: Store, name: str) -> bool:
    """Write again a file beside a model that follows from the store; False where it does not."""
    path = models_path(store.path).parent / name
    folder = ModelFolder(path.parent)
    if folder.name not in store.models:
        return False
    if path == folder.split_file:
        folder.write_split(stored_split(store, folder.name))
        return True
    if path == folder.evaluation_file:
        write_whole(path, kept_decisions(store.model_attributes(folder.name)["evaluation"]))
        return True
    return False


def _is_evaluation(store: Store, folder: ModelFolder) -> bool:
    return folder.evaluation_file.read_bytes() == kept_decisions(store.model_attributes(folder.name)["evaluation"])
