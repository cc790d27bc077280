"""Sections on a model's explanations: mean images and relevance, putamen, misclassified studies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from datbatch.cohort import schema
from datbatch.report import plates
from datbatch.report.averages import Case, GroupMean
from datbatch.report.charts import outcome_words
from datbatch.report.classification import (
    NEAR_MM,
    OUTCOME_NAMES,
    peaks_near_striatum,
)
from datbatch.report.contents import SHOWN_CASES, Contents, Explained
from datbatch.report.hypertext import Html, element, join, picture
from datbatch.report.planes import AVERAGE, study_marks
from datbatch.report.wording import Numbering, interval, number, percent, scientific


def reading_note(contents: Contents) -> Html:
    """Say how the pictures are turned and marked."""
    side = "right" if contents.convention == "radiological" else "left"
    return element(
        "p",
        element("b", "How to read the pictures. "),
        f"Transaxial slices in MNI space, anterior at the top, in {contents.convention} convention: the "
        f"left of the space (x < 0) is on the picture's {side}. Every study is stored mirrored where "
        "needed, so that the hemisphere of lower putamen binding, ",
        element("b", "I"),
        " (ipsilateral), lies at x < 0 and ",
        element("b", "C"),
        " (contralateral) at x > 0. Single studies have the patient's own side beside it (",
        element("b", "I = R"),
        ": the ipsilateral side is the patient's right, and the picture is the mirror image of a usual "
        "one); means mix both sides; the template is not mirrored and has ",
        element("b", "L"),
        " and ",
        element("b", "R"),
        ". Uptake is in multiples of the reference level (palette: DICOM hot iron). Relevance is oriented: "
        "red in the ipsilateral putamen is typical of positive studies, blue of negative ones; white is "
        "zero and both signs have one scale.",
        class_="sans",
    )


def mean_section(contents: Contents, explained: Explained, numbered: Numbering) -> Iterator[Html]:
    """Show the paper's Figure 3 and supplementary Figure 1, and where the most relevant voxel lies."""
    images, height = explained.images, explained.height
    z_mm = schema.coordinates_mm(2)[height]
    numbers = f"{images.true_negative.studies} true negatives, {images.true_positive.studies} true positives"
    yield reading_note(contents)
    yield picture(
        plates.mean_plate(images, explained.template, explained.masks, height, contents.convention),
        f"Transaxial slice at z = {z_mm:g} mm through the striatum: mean image and mean relevance of "
        f"{numbers}; template; heat map. Sides are marked I (ipsilateral) and C (contralateral).",
        join(
            (
                numbered("Figure"),
                f"Transaxial slice through the striatum (z = {z_mm:g} mm). Top: mean image of the true "
                "negative and the true positive studies of the test set, and the template, on one scale. "
                "Bottom: their mean relevance on one scale, and the heat map (mean relevance of true "
                "positives minus that of true negatives). Grey: outline of the brain. "
                f"{contents.convention.capitalize()} convention. Figure 3 of the paper.",
            )
        ),
    )
    tested = sum(map(bool, explained.outcomes)) - images.unreadable
    inside, near = peaks_near_striatum(images.peak_distance_mm, tested)
    yield element(
        "p",
        f"The most relevant voxel (greatest absolute relevance) lies in the striatum in {percent(inside)} "
        f"of the test studies ({interval(inside)}), and in or next to it (within {NEAR_MM:g} mm) in "
        f"{percent(near)} ({interval(near)}). In the paper it lies in the striatum or very close in all "
        "studies.",
    )
    if images.unreadable:
        yield element("p", f"{images.unreadable} test studies were left out: values are missing in their volumes.")
    yield from _mosaics(contents, explained, numbered)


def _mosaics(contents: Contents, explained: Explained, numbered: Numbering) -> Iterator[Html]:
    groups = (
        ("true negative", explained.images.true_negative),
        ("true positive", explained.images.true_positive),
    )
    shown: list[tuple[str, Any, Literal["uptake", "relevance"]]] = []
    for name, group in groups:
        if group.studies:
            shown.append((f"Mean relevance, {name} (n = {group.studies})", group.relevance, "relevance"))
    if all(group.studies for _, group in groups):
        shown.append(
            (
                "Heat map, true positive minus true negative",
                groups[1][1].relevance - groups[0][1].relevance,
                "relevance",
            )
        )
    for name, group in groups:
        if group.studies:
            shown.append((f"Mean image, {name} (n = {group.studies})", group.uptake, "uptake"))
    if not shown:
        return
    brain = explained.masks[schema.REGIONS.index("whole_brain")]
    drawn = [
        picture(
            plates.all_slices(volume, brain, kind, contents.convention),
            f"{title}: all {schema.SHAPE[2]} transaxial slices, from the lowest to the highest.",
            join(
                (
                    numbered("Figure"),
                    f"{title}; all transaxial slices, z in mm. Own scale. "
                    f"{contents.convention.capitalize()} convention.",
                )
            ),
        )
        for title, volume, kind in shown
    ]
    yield element("details", element("summary", "All transaxial slices (supplementary Figure 1 of the paper)"), drawn)


def putamen_section(contents: Contents, explained: Explained, numbered: Numbering) -> Iterator[Html]:
    """Show the paper's Figure 5."""
    model = explained.model
    words = outcome_words(explained.outcomes)
    cut = (
        f"; dashed: the cut learned on the validation set, {scientific(model.threshold)}"
        if np.isfinite(model.threshold)
        else ""
    )
    yield picture(
        plates.putamen_plate(
            explained.images,
            explained.putamen_region,
            explained.height,
            relevance=model.putamen_relevance,
            outcomes=explained.outcomes,
            threshold=model.threshold,
            convention=contents.convention,
        ),
        "Left: region of the ipsilateral putamen on the mean true negative image. Right: histogram of its "
        f"relevance: {words}.",
        join(
            (
                numbered("Figure"),
                "Left: outline of the large region in which the hottest voxels of the ipsilateral putamen "
                "are sought, on the mean true negative image. Right: mean relevance there in the test set, "
                f"by outcome ({words}). Line: zero{cut}. {contents.convention.capitalize()} convention. "
                "Figure 5 of the paper.",
            )
        ),
    )


def _mean_tile(
    name: str, group: GroupMean, contents: Contents, explained: Explained, scales: plates.Scales
) -> Html | None:
    if not group.studies:
        return None
    planes = (group.uptake[:, :, explained.height], group.relevance[:, :, explained.height])
    return picture(
        plates.slice_pair(*planes, AVERAGE, scales, contents.convention),
        f"Mean uptake and mean relevance of the {name} studies.",
        join((element("b", f"Mean {name}"), f" (n = {group.studies}), for comparison")),
        class_="mean",
    )


def _case_tile(case: Case, contents: Contents, explained: Explained, scales: plates.Scales) -> Html:
    row = contents.studies.iloc[case.position].to_dict()
    model = explained.model
    outcome = explained.outcomes[case.position]
    facts = (
        f"{OUTCOME_NAMES[outcome]}: label {row['label']}, probability of positive "
        f"{model.probability[case.position]:.2f}, putamen SBR {number(row['sbr_putamen_ipsilateral'])}, "
        f"putamen relevance {scientific(float(model.putamen_relevance[case.position]))}. "
    )
    inconsistent = bool(model.inconsistent[case.position])
    return picture(
        plates.case_tile(case, study_marks(bool(row["mirrored"])), scales, contents.convention),
        f"Uptake and relevance of study {row['study']}, {OUTCOME_NAMES[outcome]}.",
        join(
            (
                element("code", row["study"]),
                " ",
                facts,
                element("span", "Inconsistent map.", class_="flag") if inconsistent else None,
            )
        ),
    )


def misclassified_section(contents: Contents, explained: Explained, numbered: Numbering) -> Iterator[Html]:
    """Show the paper's Figure 4: every misclassified study beside the means of the correctly classified."""
    wrong = [position for position, outcome in enumerate(explained.outcomes) if outcome in ("FN", "FP")]
    if not wrong:
        yield element("p", "No study of the test set was misclassified.")
        return
    images = explained.images
    odd = sum(bool(explained.model.inconsistent[position]) for position in wrong)
    left_out = len(wrong) - len(images.cases)
    shown = f" The first {len(images.cases)} are shown (at most {SHOWN_CASES} are)." if left_out else ""
    yield element(
        "p",
        f"Misclassified studies of the test set: {len(wrong)}; with an inconsistent relevance map, one that "
        f"is typical of the class that was not predicted: {odd}.{shown} In the paper, 7 of 10 false "
        "negatives had one.",
    )
    scales = plates.common_scales(images, explained.height)
    tiles = [
        _mean_tile("true negative", images.true_negative, contents, explained, scales),
        _mean_tile("true positive", images.true_positive, contents, explained, scales),
        *(_case_tile(case, contents, explained, scales) for case in images.cases),
    ]
    yield element("div", tiles, class_="cases")
    yield picture(
        plates.scale_bars(scales),
        f"Colour scales: uptake 0 to {scales.uptake[1]:.3g}, relevance {scientific(scales.relevance[0])} to "
        f"{scientific(scales.relevance[1])}.",
        join(
            (
                numbered("Figure"),
                "Misclassified studies: uptake (left) and oriented relevance (right) in the same slice, "
                f"all on the scales above. {contents.convention.capitalize()} convention. Figure 4 of the "
                "paper.",
            )
        ),
    )
