"""A folder in the layout of BIDS derivatives: images with side files, participants, atlas.

BIDS (Gorgolewski et al. 2016, Sci Data 3:160044) has no data type for SPECT yet. Names follow its rules for derivatives
all the same: folder and suffix `spect` for uptake, suffix `relmap` for relevance; `.bidsignore` says so to validators.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray

from datbatch import __version__, schema
from datbatch.cohort.attributes import json_attribute
from datbatch.cohort.views.query import choose_model, cohort_atlas
from datbatch.cohort.views.results import StudyResults, positions
from datbatch.export.frames import FRAME_WORDS, IPSILATERAL_LEFT, OWN_SPACE, Frame
from datbatch.export.nifti import NOTICE, write_image
from datbatch.export.table_contents import describe
from datbatch.export.tables import to_csv
from datbatch.files import write_whole
from datbatch.imaging.nifti import write_nifti

BIDS_VERSION = "1.10.0"
SPACE = "datbatchMNI"
"""Label of the store's space: MNI millimetres of the template that the studies were normalised to."""
IGNORED = ("sub-*/spect", "tpl-*")
_COLUMNS = ("age", "sex", "site", "scanner", "label", "split")
"""Of the store's table, in participants.tsv."""
_FACTORS = {
    "uptake": "uptake over that of the reference region",
    "relevance": "layer-wise relevance of each voxel for the decision",
}


def bids_names(study: str, model: str | None, frame: Frame) -> tuple[str, ...]:
    """Name the files of one study, below the folder of the export; `model` is None where none explained it."""
    space = "orig" if frame == OWN_SPACE else SPACE
    mirrored = "Mirrored" if frame == IPSILATERAL_LEFT else ""
    start = f"sub-{study}/spect/sub-{study}_space-{space}_desc-"
    stems = [f"{start}uptake{mirrored}_spect"]
    if model is not None:
        stems.append(f"{start}{_label(model)}{mirrored}_relmap")
    return tuple(stem + suffix for stem in stems for suffix in (".nii.gz", ".json"))


def write_study(results: StudyResults, folder: Path, frame: Frame) -> None:
    """Write the images of one study below the folder of the export, each with its side file."""
    names = bids_names(results.study, results.model.name if results.model else None, frame)
    for kind, image, side in zip(("uptake", "relevance"), names[::2], names[1::2], strict=False):
        write_image(results, kind, folder / image, frame)
        write_whole(folder / side, _json(side_file(results, kind, frame)))


def side_file(results: StudyResults, kind: str, frame: Frame) -> dict[str, Any]:
    """Describe one image."""
    space = "orig" if frame == OWN_SPACE else SPACE
    told: dict[str, Any] = {
        "Description": _FACTORS[kind],
        "Units": "1",
        "SkullStripped": False,
        "SpatialReference": {space: FRAME_WORDS[frame]} if space == SPACE else "orig",
        "Frame": FRAME_WORDS[frame],
        "Resolution": f"{schema.SPACING_MM:g} mm"
        + ", interpolated from MNI space, so that values but not their sum are kept" * (frame == OWN_SPACE),
        "IpsilateralSide": results.side("ipsilateral"),
        "Simulated": results.simulated,
        "Notice": f"{NOTICE}.",
    }
    model = results.model
    if kind == "relevance" and model is not None:
        told["Model"] = {"Name": model.name, "Version": model.version, "WeightsSHA256": model.weights_sha256}
        told["Orientation"] = model.sign
        told["OrientationDescription"] = "values times this speak for reduced uptake where they are positive"
        told["Predicted"], told["ProbabilityOfPositive"] = model.predicted, model.probability
        told["Inconsistent"] = model.inconsistent
    return told


def write_dataset(
    cohort: xarray.DataTree,
    folder: Path,
    *,
    frame: Frame,
    model: str | None = None,
    studies: Sequence[str] | None = None,
) -> None:
    """Write what belongs to the whole data set: its description, participants, and in MNI space the atlas.

    `model` and `studies` are those of `run.export_studies`.
    """
    rows = np.asarray(positions(cohort, studies), dtype=np.intp)
    table, words = participants(cohort.dataset.isel(study=rows))
    write_whole(folder / "dataset_description.json", _json(description(cohort, choose_model(cohort, model))))
    write_whole(folder / "README", _readme(frame).encode())
    write_whole(folder / ".bidsignore", ("\n".join(IGNORED) + "\n").encode())
    write_whole(folder / "participants.tsv", to_csv(table, "\t", "n/a"))
    write_whole(folder / "participants.json", _json(words))
    if frame != OWN_SPACE:
        _write_atlas(cohort, folder, frame)


def participants(root: xarray.Dataset) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Give the table of participants and the meaning of its columns."""
    known = {one.name: one for one in schema.STUDY_TABLE if one.name in _COLUMNS}
    columns: dict[str, Any] = {"participant_id": [f"sub-{name}" for name in root["study"].values]}
    words: dict[str, dict[str, Any]] = {"participant_id": {"Description": "pseudonym: keyed hash"}}
    for name in (one for one in _COLUMNS if one in root.variables):
        values = root[name].values
        columns[name] = np.minimum(values, schema.AGE_CAP_YEARS) if name == "age" else [str(one) for one in values]
        told = describe(known[name])
        words[name] = {"Description": told["description"]} | ({"Units": told["units"]} if told["units"] else {})
    return pd.DataFrame(columns), words


def description(cohort: xarray.DataTree, model: str | None) -> dict[str, Any]:
    """Describe the data set, with the digests of the stages that made it."""
    stages = json_attribute(cohort.attrs, "stages")
    made = [f"{name} {stages[name]['digest']}" for name in stages if "digest" in stages[name]]
    if model is not None:
        card = json_attribute(cohort[schema.relevance_group(model)].attrs, "card")
        made.append(f"model {model} {card.get('weights_sha256', '')}".strip())
    return {
        "Name": "DAT-SPECT cohort" + ", simulated" * bool(cohort.attrs.get("simulated")),
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "datbatch",
                "Version": str(cohort.attrs.get("datbatch_version", __version__)),
                "Description": "; ".join(["digests of what made the data", *made]),
            }
        ],
        "HowToAcknowledge": "Method: Nazari et al., Eur J Nucl Med Mol Imaging 2022;49:1176-1186.",
    }


def atlas_names(frame: Frame) -> tuple[str, ...]:
    """Name the labels of the atlas: as acquired, ipsilateral and contralateral of the store's frame are left and right.

    The atlas is symmetric, so that its left half serves whichever side lies left.
    """
    if frame == IPSILATERAL_LEFT:
        return schema.ATLAS_LABELS
    return tuple(name.replace("contralateral", "right").replace("ipsilateral", "left") for name in schema.ATLAS_LABELS)


def _write_atlas(cohort: xarray.DataTree, folder: Path, frame: Frame) -> None:
    stem = folder / f"tpl-{SPACE}" / f"tpl-{SPACE}_atlas-datbatch_dseg"
    image, names, side = (stem.with_name(stem.name + suffix) for suffix in (".nii.gz", ".tsv", ".json"))
    write_nifti(image, cohort_atlas(cohort).labels, schema.grid_affine(), description=f"{NOTICE}; atlas, {frame}")
    labels = atlas_names(frame)
    table = pd.DataFrame({"index": range(1, len(labels) + 1), "name": labels})
    told = {"Description": "regions of the atlas, 0 outside the brain", "SpatialReference": {SPACE: FRAME_WORDS[frame]}}
    write_whole(names, to_csv(table, "\t", "n/a"))
    write_whole(side, _json(told))


def _readme(frame: Frame) -> str:
    cap = f"{schema.AGE_CAP_YEARS:g}"
    return f"""DAT-SPECT volumes made by datbatch {__version__}: uptake over that of the reference region,
and relevance for the decision of a neural network. {NOTICE}.

Names of participants are pseudonyms. Ages above {cap} are given as {cap}. Sites and labels are those
of the cohort's own participants table.

Space of the images: {FRAME_WORDS[frame]}.

BIDS has no data type for SPECT yet: uptake bears the suffix `spect`, relevance `relmap`.
"""


def _label(name: str) -> str:
    """Give a name in the letters and digits that BIDS allows."""
    return re.sub("[^A-Za-z0-9]", "", name)


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1) + "\n").encode()
