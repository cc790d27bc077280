"""Sections on a model's explanations: mean images and relevance, putamen, misclassified studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datbatch import schema
from datbatch.report.cohort.averages import Case
from datbatch.report.cohort.classification import NEAR_MM, OUTCOME_NAMES, outcome_words
from datbatch.report.cohort.contents import SHOWN_CASES, Contents, Explained
from datbatch.report.cohort.tables import PUTAMEN_SBR
from datbatch.report.parts import plates
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.figures import Kind
from datbatch.report.parts.hypertext import Html, element, marked
from datbatch.report.parts.planes import AVERAGE, study_marks
from datbatch.report.parts.wording import interval, number, percent, scientific

SIDES = "I / C: ipsilateral / contralateral to the hemisphere with the lower binding ratio of the putamen"
CASES_ON_A_PLATE = 13
"""With both means five rows of three: a page."""


def reading_note(contents: Contents) -> Html:
    """Say how the pictures are turned and marked."""
    side = "right" if contents.convention == "radiological" else "left"
    words = (
        f"`How to read the pictures. `Transaxial slices in MNI space, anterior at the top, in {contents.convention} "
        f"convention: the left of the space (x < 0) is on the picture's {side}. Every study is stored mirrored where "
        "needed, so that the hemisphere of lower putamen binding, `I` (ipsilateral), lies at x < 0 and `C` "
        "(contralateral) at x > 0. Single studies have the patient's own side beside it (`I = R`: the ipsilateral side "
        "is the patient's right, and the picture is the mirror image of a usual one); means mix both sides; the "
        "template is not mirrored and has `L` and `R`. Uptake is in multiples of the reference level (palette: DICOM "
        "hot iron). Relevance is oriented: red in the ipsilateral putamen is typical of positive studies, blue of "
        "negative ones; white is zero and both signs have one scale."
    )
    return element("p", marked(words, "b"), class_="sans")


def _volumes(
    contents: Contents, explained: Explained, exhibits: Exhibits
) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    """Write template, means and heat map as NIfTI; give names of volumes, and slices of the mean images, by what."""
    images, told = explained.images, "simulated studies" if contents.simulated else "test studies"
    shown: dict[str, tuple[str, npt.NDArray[Any], str]] = {}
    shown["template"] = ("template", explained.template.data, "template of normalisation, scaled")
    for name, group in images.means().items():
        words = f"mean of {group.studies} {name.replace('_', ' ')} {told}, x < 0 ipsilateral"
        for kind in plates.KINDS:
            shown[f"{kind}_{name}"] = (f"mean_{kind}_{name}", getattr(group, kind), words)
    heat = images.heat()
    if heat is not None:
        shown["heat_map"] = ("heat_map", heat, "mean relevance, true positive less true negative")
    names = {key: exhibits.volume(*one) for key, one in shown.items()}
    return names, {key: data[:, :, explained.height] for key, (_, data, _) in shown.items()}


def _slice_table(planes: Mapping[str, npt.NDArray[Any]]) -> pd.DataFrame:
    """Give slices of the store's grid as a table: x and y in MNI mm, and a column for each slice."""
    x, y = np.meshgrid(schema.coordinates_mm(0), schema.coordinates_mm(1), indexing="ij")
    return pd.DataFrame({"x_mm": x.ravel(), "y_mm": y.ravel(), **{name: one.ravel() for name, one in planes.items()}})


def mean_section(contents: Contents, explained: Explained, exhibits: Exhibits) -> Iterator[Html]:
    """Show the paper's Figure 3 and supplementary Figure 1, and where the most relevant voxel lies."""
    images, height = explained.images, explained.height
    z_mm = schema.coordinates_mm(2)[height]
    numbers = f"{images.true_negative.studies} true negatives, {images.true_positive.studies} true positives"
    volumes, planes = _volumes(contents, explained, exhibits)
    yield reading_note(contents)
    yield exhibits.figure(
        "mean_images",
        plates.mean_plate(images, explained.template, explained.masks, height, contents.convention),
        f"Transaxial slice at z = {z_mm:g} mm through the striatum: mean image and mean relevance of "
        f"{numbers}; template; heat map. Sides are marked I (ipsilateral) and C (contralateral).",
        f"Transaxial slice through the striatum (z = {z_mm:g} mm). Top: mean image of the true negative and the true "
        "positive studies of the test set, and the template, on one scale. Bottom: their mean relevance on one scale, "
        "and the heat map (mean relevance of true positives minus that of true negatives). Grey: outline of the "
        f"brain. {SIDES}. {contents.convention.capitalize()} convention. Figure 3 of the paper.",
        data=_slice_table(planes),
        volumes=tuple(volumes.values()),
    )
    inside, near = explained.peaks_near_striatum()
    yield element(
        "p",
        f"The most relevant voxel (greatest absolute relevance) lies in the striatum in {percent(inside)} "
        f"of the test studies ({interval(inside)}), and in or next to it (within {NEAR_MM:g} mm) in "
        f"{percent(near)} ({interval(near)}). In the paper it lies in the striatum or very close in all "
        "studies.",
    )
    if images.unreadable:
        yield element("p", f"{images.unreadable} test studies were left out: values are missing in their volumes.")
    yield from _mosaics(contents, explained, exhibits, volumes)


def _mosaics(
    contents: Contents, explained: Explained, exhibits: Exhibits, volumes: Mapping[str, str]
) -> Iterator[Html]:
    def means(kind: Kind, words: str) -> list[tuple[str, str, Any, Kind]]:
        return [
            (f"{kind}_{name}", f"{words}, {name.replace('_', ' ')} (n = {group.studies})", getattr(group, kind), kind)
            for name, group in explained.images.means().items()
        ]

    shown, heat = means("relevance", "Mean relevance"), explained.images.heat()
    if heat is not None:
        shown.append(("heat_map", "Heat map, true positive minus true negative", heat, "relevance"))
    shown += means("uptake", "Mean image")
    if not shown:
        return
    brain = explained.masks[schema.REGIONS.index(schema.WHOLE_BRAIN)]
    # What is compared has one scale: both means of one kind.
    limits = {kind: plates.slice_limits([one for _, _, one, k in shown if k == kind], kind) for kind in plates.KINDS}
    drawn = [
        exhibits.figure(
            f"all_slices_{key.removesuffix('_map')}",
            plates.all_slices(volume, brain, kind, contents.convention, limits[kind]),
            f"{title}: all {schema.SHAPE[2]} transaxial slices, from the lowest to the highest.",
            f"{title}; all transaxial slices, z in mm. Scale common to all sheets of {kind}. "
            f"{contents.convention.capitalize()} convention. Supplementary Figure 1 of the paper.",
            volumes=(volumes[key],),
        )
        for key, title, volume, kind in shown
    ]
    yield element("details", element("summary", "All transaxial slices (supplementary Figure 1 of the paper)"), drawn)


def putamen_section(contents: Contents, explained: Explained, exhibits: Exhibits) -> Iterator[Html]:
    """Show the paper's Figure 5."""
    model, region, height = explained.model, explained.putamen_region, explained.height
    words, mean, cut = outcome_words(explained.outcomes), explained.images.true_negative, ""
    if np.isfinite(model.threshold):
        cut = f"; dashed: the cut learned without the test set, {scientific(model.threshold)}"
    histogram = contents.studies[["study"]].assign(
        outcome=explained.outcomes, putamen_relevance=model.putamen_relevance
    )
    planes: dict[str, npt.NDArray[Any]] = {"region": region[:, :, height].astype(np.uint8)}
    volumes = [exhibits.volume("putamen_region_ipsilateral", region, "where hottest voxels are sought")]
    if mean.studies:
        planes["uptake_true_negative"] = mean.uptake[:, :, height]
        volumes.insert(0, exhibits.volume("mean_uptake_true_negative", mean.uptake, "mean"))
    plate = plates.putamen_plate(
        explained.images, region, height, relevance=model.putamen_relevance, outcomes=explained.outcomes,
        threshold=model.threshold, convention=contents.convention,
    )  # fmt: skip
    yield exhibits.figure(
        "putamen_relevance",
        plate,
        "Left: region of the ipsilateral putamen on the mean true negative image. Right: histogram of its "
        f"relevance: {words}.",
        "Left: outer contour of the large region in which the hottest voxels of the ipsilateral putamen are sought, on "
        f"the mean true negative image. Right: mean relevance there in the test set, by outcome ({words}). Line: "
        f"zero{cut}. {SIDES}. {contents.convention.capitalize()} convention. Figure 5 of the paper.",
        data={"histogram": histogram[explained.tested], "contour": _slice_table(planes)},
        volumes=volumes,
    )


def _tiles(cases: Sequence[Case], contents: Contents, explained: Explained) -> Iterator[plates.Tile]:
    """Give the means of the correctly classified, then the misclassified studies."""
    model, height = explained.model, explained.height
    for name, group in explained.images.means().items():
        slices = group.uptake[:, :, height], group.relevance[:, :, height]
        yield plates.Tile(f"Mean {name.replace('_', ' ')}\nn = {group.studies}", *slices, AVERAGE)
    for case in cases:
        row, inconsistent = contents.studies.iloc[case.position], model.inconsistent[case.position]
        title = (
            f"{OUTCOME_NAMES[explained.outcomes[case.position]].capitalize()}: {row['study']}\n"
            f"p(positive) = {model.probability[case.position]:.2f}{', inconsistent map' if inconsistent else ''}"
        )
        yield plates.Tile(title, case.uptake, case.relevance, study_marks(bool(row["mirrored"])))


def misclassified_section(contents: Contents, explained: Explained, exhibits: Exhibits) -> Iterator[Html]:
    """Show the paper's Figure 4: every misclassified study beside the means of the correctly classified."""
    wrong = [position for position, outcome in enumerate(explained.outcomes) if outcome in ("FN", "FP")]
    if not wrong:
        yield element("p", "No study of the test set was misclassified.")
        return
    images, model = explained.images, explained.model
    odd = sum(bool(model.inconsistent[position]) for position in wrong)
    left_out = len(wrong) - len(images.cases)
    shown = f" The first {len(images.cases)} are drawn (at most {SHOWN_CASES} are)." if left_out else ""
    yield element(
        "p",
        f"Misclassified studies of the test set: {len(wrong)}; with an inconsistent relevance map, one that "
        f"is typical of the class that was not predicted: {odd}.{shown} In the paper, 7 of 10 false "
        "negatives had one.",
    )
    scales = plates.common_scales(images, explained.height)
    brain = explained.masks[schema.REGIONS.index(schema.WHOLE_BRAIN)][:, :, explained.height]
    for start in range(0, len(images.cases), CASES_ON_A_PLATE):
        cases = images.cases[start : start + CASES_ON_A_PLATE]
        names = [str(contents.studies["study"].iloc[case.position]) for case in cases]
        planes = {
            f"{kind} {name}": getattr(case, kind)
            for name, case in zip(names, cases, strict=True)
            for kind in plates.KINDS
        }
        yield exhibits.figure(
            "misclassified",
            plates.tiles_plate(list(_tiles(cases, contents, explained)), brain, scales, contents.convention),
            f"Uptake and relevance of {len(cases)} misclassified studies beside the means of the true negative and the "
            f"true positive ones: {', '.join(names)}.",
            f"Misclassified studies {start + 1} to {start + len(cases)} of {len(wrong)}: uptake (left) and oriented "
            "relevance (right) in the slice of the mean images, all on the scales below, beside the means of the "
            f"correctly classified. {SIDES}, with the patient's own side (L / R); {contents.convention} convention. "
            "Figure 4 of the paper.",
            data=_slice_table(planes),
        )
    rows = contents.studies.iloc[wrong]
    listed = rows[["study", "site"]].assign(
        outcome=[explained.outcomes[position] for position in wrong],
        probability=model.probability[wrong],
        sbr_putamen_ipsilateral=rows[PUTAMEN_SBR],
        putamen_relevance=model.putamen_relevance[wrong],
        inconsistent=model.inconsistent[wrong],
        flags=(rows["flags"] + " " + rows["quantification_flags"]).str.strip(),
    )
    yield exhibits.table(
        "misclassified",
        "Misclassified studies of the test set: probability of the positive class, specific binding ratio and oriented "
        "relevance of the ipsilateral putamen (hottest voxels), whether the map is typical of the other class, and "
        "flags of quality.",
        ("Study", "Site", "Outcome", "Flags", "Probability", "Putamen SBR", "Putamen relevance", "Map"),
        (
            (
                element("code", row["study"]),
                row["site"] or "–",
                OUTCOME_NAMES[str(row["outcome"])],
                str(row["flags"]).replace(" ", ", ") or "–",
                f"{row['probability']:.2f}",
                number(row[PUTAMEN_SBR]),
                scientific(row["putamen_relevance"]),
                element("span", "inconsistent", class_="flag") if row["inconsistent"] else "consistent",
            )
            for row in listed.to_dict("records")
        ),
        data=listed,
        text_columns=4,
    )
