"""The page of one study: what the network says, how sure, why, and what else is known; for a physician to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datbatch import __version__
from datbatch.archive.codes import explain_code
from datbatch.cohort import schema
from datbatch.execution.explained import MEANINGS, StudyExplanation
from datbatch.norms import WARNINGS
from datbatch.report.document import document
from datbatch.report.hypertext import Child, Html, element, join, table
from datbatch.report.planes import Convention
from datbatch.report.study_pictures import (
    HEIGHTS_MM,
    binding_chart,
    region_words,
    relevance_row,
    slices,
    uptake_row,
)
from datbatch.report.wording import number, scientific

TITLE = "Dopamine-transporter SPECT: one study"
HEADLINE = "hottest_voxels"
"""The definition of binding that the chart shows: the paper's."""
BELOW = "below"
CSS = """
.slices { display: flex; flex-wrap: wrap; gap: 6px; align-items: flex-end; }
.slice { position: relative; background: #000; flex: 0 1 auto; line-height: 1.2; }
.slice img { display: block; max-width: 100%; height: auto; }
.slice span { position: absolute; top: 3px; color: #fff; font: 700 15px/1 sans-serif; text-shadow: 0 0 3px #000; }
.slice .left { left: 5px; } .slice .right { right: 5px; }
.slice small { display: block; color: #ddd; text-align: center; font: 12px/1.6 sans-serif; }
.scale { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; font: .82rem/1.4 sans-serif; margin-top: 6px; }
.scale img { width: 220px; height: 12px; border: 1px solid var(--rule); }
svg.binding { width: 100%; max-width: 800px; height: auto; display: block; }
svg.binding text { font-size: 15px; fill: var(--ink); }
svg.binding .grid { stroke: #e4e6e9; } svg.binding .normal { fill: #cfe3f1; }
svg.binding .mean { stroke: #00558c; stroke-width: 2; }
svg.binding .inside { fill: #00558c; } svg.binding .outside { fill: #c14a00; stroke: #fff; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(178px, 1fr)); } .tiles dd { font-size: 1.35rem; }
.tiles .alert { border-top-color: #b03a00; }
@media print { .slice, .scale img, svg.binding .normal { -webkit-print-color-adjust: exact;
  print-color-adjust: exact; } }
"""


def study_page(study: StudyExplanation, *, convention: Convention = "radiological") -> str:
    """Write the page of one explained study.

    Parameters
    ----------
    study : StudyExplanation
        As `execution.study.explain_study` gives it.
    convention : {"radiological", "neurological"}
        Side on which the patient's left is shown: right or left.

    Returns
    -------
    str
        HTML that loads nothing and names nobody; the same study gives the same text, up to its times.
    """
    sections = (
        ("Images", _pictures(study, convention)),
        ("Binding against normal", _binding(study)),
        ("Relevance by region", _relevance(study)),
        ("Quality and warnings", _quality(study)),
        ("What computed this", _versions(study)),
    )
    body = element(
        "body",
        element(
            "header",
            element("h1", TITLE),
            element("p", f"Read by the network {study.model}, explained by layer-wise relevance.", class_="lead"),
            _notice(),
        ),
        element(
            "main",
            _headline(study),
            (element("p", sentence) for sentence in _sentences(study)),
            (element("section", element("h2", name), join(parts)) for name, parts in sections),
        ),
        element("footer", _notice()),
    )
    return document(TITLE, body, CSS)


def _notice() -> Html:
    return element(
        "div",
        element("strong", "Research software, not a medical device."),
        "Nothing here may be used for the diagnosis or treatment of a patient.",
        class_="notice",
        role="note",
    )


def _tile(name: str, value: Child, note: Child, *, alert: bool = False) -> Html:
    return element(
        "div", element("dt", name), element("dd", value, element("small", note)), class_="alert" if alert else None
    )


def _headline(study: StudyExplanation) -> Html:
    evaluated = study.certain is not None
    calibrated = bool(np.isfinite(study.calibrated_probability))
    probability = study.calibrated_probability if calibrated else study.probability
    certain = {True: "certain", False: "uncertain", None: "not known"}[study.certain]
    why = (
        f"the model calls {100 * study.uncertain_share:.0f} % of studies uncertain"
        if evaluated
        else "call datbatch evaluate for the model"
    )
    tiles = [
        _tile("The network says", MEANINGS[study.predicted], study.predicted),
        _tile(
            "Probability of reduced uptake", _share(probability), "calibrated" if calibrated else "not calibrated",
        ),
        _tile("Certain?", certain, why, alert=study.certain is False),
        _tile(
            "Relevance map",
            "inconsistent" if study.inconsistent else "consistent",
            f"the putamen's relevance is typical of the {'other' if study.inconsistent else 'same'} class",
            alert=study.inconsistent,
        ),
    ]  # fmt: skip
    lowest = _lowest_putamen(study)
    if lowest is not None:
        note = f"{region_words(study, lowest.region)}: {lowest.place} the normal range"
        tiles.append(_tile("Lower putamen binding", f"{_signed(lowest.z)} SD", note, alert=lowest.place == BELOW))
    return element("dl", tiles, class_="tiles")


@dataclass(frozen=True)
class _Lowest:
    """The putamen that lies lower against normal."""

    region: str
    z: float
    place: str
    """below, within or above the normal range."""


def _lowest_putamen(study: StudyExplanation) -> _Lowest | None:
    if study.comparison is None:
        return None
    found = []
    for region in schema.REGIONS[:2]:
        value, _, lower, upper, z = study.comparison.of(f"{HEADLINE} {region}")
        if np.isfinite(z):
            found.append(_Lowest(region, z, BELOW if value < lower else "above" if value > upper else "within"))
    return min(found, key=lambda one: one.z, default=None)


def _sentences(study: StudyExplanation) -> Iterator[str]:
    """Say in words what the tiles say, and where they contradict each other."""
    yield (
        f"The network reads {MEANINGS[study.predicted]}. It saw the whole normalised brain, not the binding ratios "
        "below, which are computed beside it."
    )
    if study.certain is None:
        yield "Whether the reading is certain is not known: the model was not evaluated for that."
    elif not study.certain:
        yield (
            "It is uncertain: studies as close to the border between the classes are wrong more often than others. "
            "Read the images themselves."
        )
    if study.inconsistent:
        yield (
            "The relevance of the putamen is like that of studies with the other reading. Such readings are wrong more "
            "often than others; look at the images."
        )
    lowest = _lowest_putamen(study)
    if lowest is not None and (lowest.place == BELOW) != (study.predicted == schema.POSITIVE):
        yield (
            f"Network and binding disagree: the network reads {MEANINGS[study.predicted]}, while the lower putamen "
            f"binding lies {lowest.place} the normal range. Look at the images, the normalisation and the quality."
        )


def _pictures(study: StudyExplanation, convention: Convention) -> Iterator[Html]:
    cuts = slices(study, convention)
    yield uptake_row(study, cuts, convention)
    yield relevance_row(study, cuts, convention)
    side = "right" if convention == "radiological" else "left"
    turned = (
        "The network was shown the mirror image, with the side of lower putamen binding on the left as in all its "
        "studies; here and in the files the patient's own sides are restored."
        if study.mirrored
        else "The side of lower putamen binding is the left one, as the network expects it, so nothing was mirrored."
    )
    yield element(
        "p",
        element("b", "How to read the images. "),
        f"Slices in MNI space; the patient's left is on the picture's {side}. {turned} In the second row yellow and "
        "red places spoke for reduced uptake, blue ones for normal uptake; white lines show putamen and caudate "
        "nucleus of the atlas. Relevance tells what this network relied on. It does not say that there is disease, "
        "and a place "
        "without relevance is not thereby healthy.",
    )
    yield element(
        "p",
        f"Transaxial slices at {', '.join(f'{height:g}' for height in HEIGHTS_MM)} mm. The files uptake.nii.gz and "
        "relevance.nii.gz hold the whole volumes.",
    )


def _binding(study: StudyExplanation) -> Iterator[Html]:
    yield element(
        "figure",
        binding_chart(study, HEADLINE),
        element(
            "figcaption",
            "Specific binding ratios by hottest voxels. ",
            "Band: 95 % prediction interval of normal studies; line: expected; dot: this study."
            if study.comparison is not None
            else f"No normal range: {study.not_compared}",
        ),
    )
    if study.comparison is not None:
        person = study.comparison.person
        age = "age not known" if person.age_years is None else f"age {person.age_years:g}"
        sex = {"F": "female", "M": "male"}.get(person.sex, "sex not known")
        place = f"site {person.site}" if person.site else "site not stated"
        yield element(
            "p",
            f"Compared with up to {study.comparison.normals} normal studies of the cohort at {age}, {sex}, {place}.",
        )
        if study.comparison.warnings:
            yield element("ul", (element("li", WARNINGS[code]) for code in study.comparison.warnings))
    yield table(
        "Specific binding ratio by definition, against the reference region: value, 95 % normal interval, distance "
        "from the expected value in standard deviations.",
        ("Region", *(definition.replace("_", " ") for definition in schema.DEFINITIONS)),
        (
            (
                region_words(study, name),
                *(_measure(study, f"{d} {name}", at, row) for at, d in enumerate(schema.DEFINITIONS)),
            )
            for row, name in enumerate(schema.STRIATAL)
        ),
    )


def _measure(study: StudyExplanation, measure: str, definition: int, region: int) -> Html:
    value = float(study.binding.binding_ratio[definition, 0, region])
    if study.comparison is None:
        return join((number(value),))
    _, _, lower, upper, z = study.comparison.of(measure)
    if not np.isfinite(z):
        return join((number(value),))
    return join((number(value), element("small", f"{lower:.2f} to {upper:.2f}; z = {_signed(z)}")))


def _relevance(study: StudyExplanation) -> Iterator[Html]:
    hottest, positive, negative = (
        schema.STATISTICS.index(name) for name in ("hottest_mean", "positive_mass", "negative_mass")
    )
    whole = schema.REGIONS.index("whole_brain")
    total = study.regional[whole, positive] - study.regional[whole, negative]
    rows = []
    for index, name in enumerate(schema.REGIONS):
        up, down = study.regional[index, positive], -study.regional[index, negative]
        if study.orientation < 0:
            up, down = down, up
        sbr = study.specific_binding_ratio[index] if name != "reference" else np.nan
        share = f"{100 * (up + down) / total:.0f} %" if total > 0 else "–"
        rows.append(
            (
                region_words(study, name), number(float(sbr)),
                scientific(study.orientation * float(study.regional[index, hottest])),
                scientific(float(up)), scientific(-float(down)), share,
            )
        )  # fmt: skip
    yield table(
        "Relevance by region, turned so that positive speaks for reduced uptake. Regions overlap: the whole brain "
        "holds them all.",
        ("Region", "SBR", "Most relevant voxels, mean", "Sum for reduced", "Sum for normal", "Share of the brain's"),
        rows,
    )


def _quality(study: StudyExplanation) -> Iterator[Html]:
    codes = (*study.flags, *study.quantification_flags)
    if codes:
        yield table(
            "What was unusual.", ("Code", "Meaning", "What to do"),
            ((element("code", code), *explain_code(code)) for code in codes), text_columns=3,
        )  # fmt: skip
    else:
        yield element("p", "Nothing was unusual about projections, header and binding ratios.")
    motion = f"{study.motion_mm:.1f} mm" if np.isfinite(study.motion_mm) else "not known"
    rows: list[tuple[Child, ...]] = [("Counts", f"{study.counts / 1e6:.2f} million"), ("Motion of the head", motion)]
    rows += [(f"Normalisation: {name.replace('_', ' ')}", number(value)) for name, value in study.quality.items()]
    yield table("Quality of data and normalisation.", ("Score", "Value"), rows)


def _versions(study: StudyExplanation) -> Iterator[Html]:
    rows = [
        ("datbatch", __version__),
        ("Model", study.model),
        ("Weights (SHA-256)", element("code", study.weights_sha256)),
        ("Atlas", element("code", study.atlas.digest)),
    ]
    yield table("Versions and digests.", ("What", "Value"), rows, text_columns=2)


def _share(probability: float) -> str:
    return f"{100 * probability:.0f} %" if 0.01 <= probability <= 0.99 else "< 1 %" if probability < 0.5 else "> 99 %"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
