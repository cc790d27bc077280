"""Sections on a model's explanations: mean images and relevance, putamen, misclassified studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from datbatch import schema
from datbatch.report.cohort.averages import Case, GroupImages
from datbatch.report.cohort.classification import NEAR_MM, OUTCOME_NAMES, outcome_words, peaks_near_striatum
from datbatch.report.cohort.contents import SHOWN_CASES, Contents, Explained
from datbatch.report.parts import plates
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.hypertext import Html, element
from datbatch.report.parts.planes import AVERAGE, study_marks
from datbatch.report.parts.wording import interval, number, percent, scientific

CASES_ON_A_PLATE = 13
"""With both means five rows of three: a page."""


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


def _written(contents: Contents, explained: Explained, exhibits: Exhibits) -> dict[str, str]:
    """Write the mean volumes as NIfTI; names by what they are."""
    images = explained.images
    told = "simulated studies" if contents.simulated else "test studies"
    found = {"template": exhibits.volume("template", explained.template.data, "template of normalisation, scaled")}
    for key, group in (("true_negative", images.true_negative), ("true_positive", images.true_positive)):
        if group.studies:
            n = f"{group.studies} {key.replace('_', ' ')} {told}, x < 0 ipsilateral"
            found[f"uptake {key}"] = exhibits.volume(f"mean_uptake_{key}", group.uptake, f"mean of {n}")
            found[f"relevance {key}"] = exhibits.volume(f"mean_relevance_{key}", group.relevance, f"mean of {n}")
    heat = _heat(images)
    if heat is not None:
        found["heat"] = exhibits.volume("heat_map", heat, "mean relevance, true positive less true negative")
    return found


def _heat(images: GroupImages) -> npt.NDArray[np.float64] | None:
    both = images.true_positive, images.true_negative
    return both[0].relevance - both[1].relevance if all(group.studies for group in both) else None


def _slice_table(planes: Mapping[str, npt.NDArray[Any]]) -> pd.DataFrame:
    """Give slices of the store's grid as a table: x and y in MNI mm, and a column for each slice."""
    x, y = np.meshgrid(schema.coordinates_mm(0), schema.coordinates_mm(1), indexing="ij")
    return pd.DataFrame({"x_mm": x.ravel(), "y_mm": y.ravel(), **{name: one.ravel() for name, one in planes.items()}})


def mean_section(contents: Contents, explained: Explained, exhibits: Exhibits) -> Iterator[Html]:
    """Show the paper's Figure 3 and supplementary Figure 1, and where the most relevant voxel lies."""
    images, height = explained.images, explained.height
    z_mm = schema.coordinates_mm(2)[height]
    numbers = f"{images.true_negative.studies} true negatives, {images.true_positive.studies} true positives"
    volumes = _written(contents, explained, exhibits)
    planes: dict[str, npt.NDArray[Any]] = {"template": explained.template.data[:, :, height]}
    for key, group in (("true_negative", images.true_negative), ("true_positive", images.true_positive)):
        if group.studies:
            planes[f"uptake_{key}"] = group.uptake[:, :, height]
            planes[f"relevance_{key}"] = group.relevance[:, :, height]
    heat = _heat(images)
    if heat is not None:
        planes["heat_map"] = heat[:, :, height]
    yield reading_note(contents)
    yield exhibits.figure(
        "mean_images",
        plates.mean_plate(images, explained.template, explained.masks, height, contents.convention),
        f"Transaxial slice at z = {z_mm:g} mm through the striatum: mean image and mean relevance of "
        f"{numbers}; template; heat map. Sides are marked I (ipsilateral) and C (contralateral).",
        f"Transaxial slice through the striatum (z = {z_mm:g} mm). Top: mean image of the true negative and the true "
        "positive studies of the test set, and the template, on one scale. Bottom: their mean relevance on one scale, "
        "and the heat map (mean relevance of true positives minus that of true negatives). Grey: outline of the "
        "brain. I / C: ipsilateral / contralateral to the hemisphere with the lower binding ratio of the putamen. "
        f"{contents.convention.capitalize()} convention. Figure 3 of the paper.",
        data=_slice_table(planes),
        volumes=tuple(volumes.values()),
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
    yield from _mosaics(contents, explained, exhibits, volumes)


def _mosaics(
    contents: Contents, explained: Explained, exhibits: Exhibits, volumes: Mapping[str, str]
) -> Iterator[Html]:
    groups = (("true negative", explained.images.true_negative), ("true positive", explained.images.true_positive))
    shown: list[tuple[str, str, Any, Literal["uptake", "relevance"]]] = []
    for name, group in groups:
        if group.studies:
            key = f"relevance {name.replace(' ', '_')}"
            shown.append((key, f"Mean relevance, {name} (n = {group.studies})", group.relevance, "relevance"))
    heat = _heat(explained.images)
    if heat is not None:
        shown.append(("heat", "Heat map, true positive minus true negative", heat, "relevance"))
    for name, group in groups:
        if group.studies:
            key = f"uptake {name.replace(' ', '_')}"
            shown.append((key, f"Mean image, {name} (n = {group.studies})", group.uptake, "uptake"))
    if not shown:
        return
    brain = explained.masks[schema.REGIONS.index("whole_brain")]
    # What is compared has one scale: both means of one kind.
    limits = {kind: plates.slice_limits([one for _, _, one, k in shown if k == kind], kind) for kind in plates.KINDS}
    drawn = [
        exhibits.figure(
            f"all_slices_{key.replace(' ', '_')}",
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
    model, images = explained.model, explained.images
    words = outcome_words(explained.outcomes)
    cut = (
        f"; dashed: the cut learned without the test set, {scientific(model.threshold)}"
        if np.isfinite(model.threshold)
        else ""
    )
    told = [position for position, outcome in enumerate(explained.outcomes) if outcome]
    histogram = pd.DataFrame(
        {
            "study": contents.studies["study"].to_numpy()[told],
            "outcome": [explained.outcomes[position] for position in told],
            "putamen_relevance": model.putamen_relevance[told],
        }
    )
    region = explained.putamen_region
    planes: dict[str, npt.NDArray[Any]] = {"region": region[:, :, explained.height].astype(np.uint8)}
    volumes = [exhibits.volume("putamen_region_ipsilateral", region, "where hottest voxels are sought")]
    if images.true_negative.studies:
        planes["uptake_true_negative"] = images.true_negative.uptake[:, :, explained.height]
        volumes.insert(0, exhibits.volume("mean_uptake_true_negative", images.true_negative.uptake, "mean"))
    yield exhibits.figure(
        "putamen_relevance",
        plates.putamen_plate(
            images,
            region,
            explained.height,
            relevance=model.putamen_relevance,
            outcomes=explained.outcomes,
            threshold=model.threshold,
            convention=contents.convention,
        ),
        "Left: region of the ipsilateral putamen on the mean true negative image. Right: histogram of its "
        f"relevance: {words}.",
        "Left: outer contour of the large region in which the hottest voxels of the ipsilateral putamen are sought, on "
        f"the mean true negative image. Right: mean relevance there in the test set, by outcome ({words}). Line: "
        f"zero{cut}. I / C: ipsilateral / contralateral to the hemisphere with the lower binding ratio of the putamen. "
        f"{contents.convention.capitalize()} convention. Figure 5 of the paper.",
        data={"histogram": histogram, "contour": _slice_table(planes)},
        volumes=volumes,
    )


def _mean_tiles(explained: Explained) -> list[plates.Tile]:
    height = explained.height
    groups = (("negative", explained.images.true_negative), ("positive", explained.images.true_positive))
    return [
        plates.Tile(
            f"Mean true {name}\nn = {group.studies}", group.uptake[:, :, height], group.relevance[:, :, height], AVERAGE
        )
        for name, group in groups
        if group.studies
    ]


def _case_tile(case: Case, contents: Contents, explained: Explained) -> plates.Tile:
    row = contents.studies.iloc[case.position]
    inconsistent = ", inconsistent map" if explained.model.inconsistent[case.position] else ""
    title = (
        f"{OUTCOME_NAMES[explained.outcomes[case.position]].capitalize()}: {row['study']}\n"
        f"p(positive) = {explained.model.probability[case.position]:.2f}{inconsistent}"
    )
    return plates.Tile(title, case.uptake, case.relevance, study_marks(bool(row["mirrored"])))


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
    brain = explained.masks[schema.REGIONS.index("whole_brain")][:, :, explained.height]
    for start in range(0, len(images.cases), CASES_ON_A_PLATE):
        cases = images.cases[start : start + CASES_ON_A_PLATE]
        names = [str(contents.studies["study"].iloc[case.position]) for case in cases]
        planes = {
            f"{kind} {name}": getattr(case, kind)
            for name, case in zip(names, cases, strict=True)
            for kind in plates.KINDS
        }
        tiles = [*_mean_tiles(explained), *(_case_tile(case, contents, explained) for case in cases)]
        yield exhibits.figure(
            "misclassified",
            plates.tiles_plate(tiles, brain, scales, contents.convention),
            f"Uptake and relevance of {len(cases)} misclassified studies beside the means of the true negative and the "
            f"true positive ones: {', '.join(names)}.",
            f"Misclassified studies {start + 1} to {start + len(cases)} of {len(wrong)}: uptake (left) and oriented "
            "relevance (right) in the slice of the mean images, all on the scales below, beside the means of the "
            "correctly classified. I / C: ipsilateral / contralateral to the hemisphere with the lower binding ratio "
            "of the putamen, with the patient's own side (L / R); "
            f"{contents.convention} convention. Figure 4 of the paper.",
            data=_slice_table(planes),
        )
    rows = contents.studies.iloc[wrong]
    listed = pd.DataFrame(
        {
            "study": rows["study"],
            "site": rows["site"],
            "outcome": [explained.outcomes[position] for position in wrong],
            "probability": model.probability[wrong],
            "sbr_putamen_ipsilateral": rows["sbr_putamen_ipsilateral"],
            "putamen_relevance": model.putamen_relevance[wrong],
            "inconsistent": model.inconsistent[wrong],
            "flags": [" ".join(both).strip() for both in zip(rows["flags"], rows["quantification_flags"], strict=True)],
        }
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
                number(row["sbr_putamen_ipsilateral"]),
                scientific(row["putamen_relevance"]),
                element("span", "inconsistent", class_="flag") if row["inconsistent"] else "consistent",
            )
            for row in listed.to_dict("records")
        ),
        data=listed,
        text_columns=4,
    )
