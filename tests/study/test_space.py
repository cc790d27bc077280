"""Template and atlas of one's own: known by content, kept in the store and beside the model, never by path."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray

from datbatch import schema
from datbatch.classifier import load_model
from datbatch.classifier.folder import ModelFolder
from datbatch.cohort.store import Store, models_path
from datbatch.cohort.views.query import cohort_atlas, cohort_template, open_cohort
from datbatch.config import KNOWN_BY, Config, QuantifyConfig, RegisterConfig, canonical_json
from datbatch.errors import AtlasError, ModelError, StoreError, TemplateError
from datbatch.imaging import (
    Atlas,
    Volume,
    analytic_atlas,
    atlas_from_labels,
    load_template,
    write_labels,
    write_template,
)
from datbatch.stages.imaging import prepare
from datbatch.study.imaging import imaging_identities
from datbatch.study.relevance import HOTTEST, explain_volumes
from datbatch.study.space import (
    as_imaged,
    configured_space,
    keep_in_model,
    model_space,
    recorded,
    store_space,
    template_digest,
    write_space,
)

SURNAME = "DOE_JOHN"
"""Part of every path: it must be found nowhere."""


def moved_atlas() -> Atlas:
    """Give an atlas whose thalamus is larger."""
    labels = analytic_atlas().labels.copy()
    grown = np.roll(labels == schema.REGIONS.index("thalamus") + 1, 1, axis=2)
    labels[grown & (labels > 8)] = schema.REGIONS.index("thalamus") + 1
    return atlas_from_labels(labels)


@pytest.fixture
def own(tmp_path: Path) -> Config:
    """Parameters that name a template and an atlas of one's own."""
    folder = tmp_path / SURNAME
    template, atlas = folder / "template.nii.gz", folder / "atlas.nii.gz"
    shipped = load_template()
    write_template(Volume(np.roll(shipped.data, 1, axis=1), shipped.affine), template)
    write_labels(atlas, moved_atlas())
    return Config(register=RegisterConfig(template=str(template)), quantify=QuantifyConfig(atlas=str(atlas)))


def test_the_shipped_template_and_atlas_are_the_default_and_a_copy_changes_nothing(tmp_path) -> None:
    space = configured_space(Config())
    assert space.template is load_template()
    assert space.atlas is analytic_atlas()
    assert recorded(Config()) == Config()
    write_labels(tmp_path / "copy.nii.gz")
    copied = Config(quantify=QuantifyConfig(atlas=str(tmp_path / "copy.nii.gz")))
    assert imaging_identities(copied) == imaging_identities(Config())


def test_another_template_or_atlas_changes_its_stage_and_what_depends_on_it(own) -> None:
    before, after = imaging_identities(Config()), imaging_identities(own)
    assert [name for name in before if before[name].digest != after[name].digest] == ["register", "quantify"]
    atlas_alone = imaging_identities(replace(own, register=RegisterConfig()))
    assert [name for name in before if before[name].digest != atlas_alone[name].digest] == ["quantify"]


def test_what_is_recorded_names_content_and_no_path_and_means_the_same(own, tmp_path) -> None:
    kept = recorded(own)
    assert SURNAME not in canonical_json(kept.to_dict())
    assert str(tmp_path) not in canonical_json([vars(i) for i in imaging_identities(own).values()])
    assert kept.register.template.startswith(KNOWN_BY)
    assert imaging_identities(kept) == imaging_identities(own)
    assert recorded(kept) == kept
    assert Config.from_dict(json.loads(canonical_json(kept.to_dict()))) == kept


def test_a_file_that_is_replaced_is_read_again(own) -> None:
    before = template_digest(own.register.template)
    shipped = load_template()
    write_template(Volume(shipped.data[::-1], shipped.affine), Path(own.register.template))
    assert template_digest(own.register.template) != before


def test_the_store_gives_back_what_it_was_made_with(own, tmp_path) -> None:
    store = Store.create(tmp_path / "cohort.zarr", granule_studies=1)
    kept, space = recorded(own), configured_space(own)
    with pytest.raises(StoreError):
        store_space(store.path, kept)
    write_space(store, space)
    store.consolidate()
    found = store_space(store.path, kept)
    assert found is store_space(store.path, kept), "what is measured on a template is measured for every study"
    np.testing.assert_array_equal(found.template.data, space.template.data)
    np.testing.assert_array_equal(found.atlas.masks, space.atlas.masks)
    tree = open_cohort(store.path)
    np.testing.assert_array_equal(cohort_atlas(tree).labels, space.atlas.labels)
    np.testing.assert_array_equal(cohort_template(tree).data, space.template.data)
    assert tree.labels.dims == tree.template.dims == ("x", "y", "z")
    meanings = dict(zip(tree.labels.attrs["flag_meanings"].split(), tree.labels.attrs["flag_values"], strict=True))
    inside = tree.template.where(tree.labels == meanings["putamen_ipsilateral"])
    assert int(inside.notnull().sum()) == int(space.atlas.mask("putamen_ipsilateral").sum())
    assert float(inside.x[inside.notnull().any(["y", "z"])].max()) < 0
    # Another run with the shipped ones replaces them.
    write_space(store, configured_space(Config()))
    np.testing.assert_array_equal(store.read_image(schema.ATLAS), analytic_atlas().labels)
    with pytest.raises(StoreError):
        store_space(store.path, recorded(replace(own, quantify=QuantifyConfig(atlas=KNOWN_BY + "0" * 16))))


def test_a_model_carries_what_its_studies_were_normalised_with(own, tmp_path) -> None:
    store = Store.create(tmp_path / "cohort.zarr", granule_studies=1)
    write_space(store, configured_space(own))
    store.set_attributes({"config": canonical_json(recorded(own).to_dict())})
    trained = as_imaged(store, Config())
    assert trained == recorded(own)
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ModelError, match="missing"):
        model_space(ModelFolder(folder), trained)
    keep_in_model(ModelFolder(folder), store.path, trained)
    found, wanted = model_space(ModelFolder(folder), trained), configured_space(own)
    np.testing.assert_array_equal(found.template.data, wanted.template.data)
    np.testing.assert_array_equal(found.atlas.masks, wanted.atlas.masks)
    write_template(load_template(), folder / "template.nii.gz")
    with pytest.raises(ModelError, match="not those"):
        model_space(ModelFolder(folder), trained)


def test_a_bad_file_is_refused_before_anything_is_made(tmp_path, archive) -> None:
    cohort, missing = tmp_path / "cohort.zarr", str(tmp_path / SURNAME / "none.nii.gz")
    for config, kind in (
        (Config(register=RegisterConfig(template=missing)), TemplateError),
        (Config(quantify=QuantifyConfig(atlas=missing)), AtlasError),
    ):
        with pytest.raises(kind) as caught:
            prepare(archive, cohort, config, participants=None, quiet=True)
        assert SURNAME not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_relevance_is_summed_in_the_regions_of_the_given_atlas(cohort) -> None:
    (folder,) = [p for p in models_path(cohort).iterdir() if not p.name.startswith(".")]
    tree = xarray.open_datatree(cohort, engine="zarr")
    volume = tree.uptake[int(np.flatnonzero(tree.status == schema.DONE)[0])].values
    model = load_model(folder)
    analytic, moved = (
        explain_volumes([volume], model, Config().explain, atlas)[0] for atlas in (analytic_atlas(), moved_atlas())
    )
    np.testing.assert_array_equal(analytic.relevance, moved.relevance)
    differs = ~np.isclose(analytic.regional, moved.regional, equal_nan=True)
    assert differs[schema.REGIONS.index("thalamus")].any()
    assert not differs[: schema.REGIONS.index("thalamus"), HOTTEST].any()
