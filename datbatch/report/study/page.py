"""The page of one study for a physician: what the network says, how sure it is, why, and what else is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from datbatch import __version__, schema
from datbatch.archive.codes import explain_code
from datbatch.norms import WARNINGS
from datbatch.report.parts.document import document
from datbatch.report.parts.hypertext import Child, Html, element, marked, stacked, table
from datbatch.report.parts.planes import Convention
from datbatch.report.parts.wording import number, scientific, signed
from datbatch.report.study.charts import age_panels, masses, relevance_chart
from datbatch.report.study.film import film
from datbatch.report.study.pictures import binding_chart, region_words, relevance_row, slices, uptake_row
from datbatch.report.study.viewer import policy, scripts, viewer
from datbatch.study.comparison import Person
from datbatch.study.explained import MEANINGS, SIDE_UNCERTAIN, StudyExplanation

TITLE = "Dopamine-transporter SPECT: one study"
HEADLINE = schema.HOTTEST_VOXELS
"""The definition of binding that the chart shows: the paper's."""
BELOW = "below"


def study_page(study: StudyExplanation, *, convention: Convention = "radiological") -> str:
    """Write the page of one explained study as HTML: live on the screen, one sheet of A4 on paper.

    It loads nothing and names nobody; the same study gives the same text. The radiological convention shows the
    patient's left on the right.
    """
    body = element(
        "body",
        element("header", element("h1", TITLE), element("p", _whose(study), class_="lead"), _notice()),
        element(
            "main",
            _headline(study),
            _sentences(study),
            _section("Slices", _pictures(study, convention)),
            _section("Three planes", (viewer(study, convention),), class_="beside"),
            # On paper these stand side by side.
            _section("Binding against normal", _binding(study), class_="half"),
            element(
                "div",
                _section("Relevance by region", _relevance(study)),
                _section("Projections", film(study.projections)) if study.projections is not None else None,
                class_="half",
            ),
            _section("Quality", _quality(study)),
            _section("What this was made from", _made(study)),
        ),
        element("footer", _notice()),
        scripts(),
    )
    return document(TITLE, body, "study_page.css", policy=policy())


def _section(name: str, parts: Iterable[Child], class_: str | None = None) -> Html:
    return element("section", element("h2", name), parts, class_=class_)


def _whose(study: StudyExplanation) -> str:
    """Say whose study it is, without identity."""
    told = [study.study] if study.study else []
    person = study.comparison.person if study.comparison is not None else None
    if person is not None:
        told.append(_age(person))
        told.append({"F": "female", "M": "male"}.get(person.sex, "sex not known"))
        if person.site:
            told.append(f"site {person.site}")
    if study.acquired.get("scanner"):
        told.append(str(study.acquired["scanner"]))
    if study.source == schema.TOMOGRAM:
        told.append("reconstructed elsewhere")
    if study.simulated:
        told.append("SIMULATED")
    return " · ".join([*told, f"read by the network {study.model}"])


def _age(person: Person) -> str:
    if person.age_years is None:
        return "age not known"
    if person.age_years > schema.AGE_CAP_YEARS:
        return f"age over {schema.AGE_CAP_YEARS:g}"
    return f"age {person.age_years:.0f}"


def _notice() -> Html:
    return element(
        "div",
        element("strong", "Research software, not a medical device."),
        " ",
        "Nothing here may be used for the diagnosis or treatment of a patient.",
        class_="notice",
        role="note",
    )


def _tile(name: str, value: Child, note: Child, *, alert: bool = False) -> Html:
    return element(
        "div", element("dt", name), element("dd", value, element("small", note)), class_="alert" if alert else None
    )


def _headline(study: StudyExplanation) -> Html:
    calibrated = bool(np.isfinite(study.calibrated_probability))
    probability = study.calibrated_probability if calibrated else study.probability
    certain = {True: "certain", False: "uncertain", None: "not known"}[study.certain]
    why = "why: see below"
    if study.certain is not None and np.isfinite(study.uncertain_share):
        why = f"the model calls {100 * study.uncertain_share:.0f} % of studies uncertain"
    map_is, like = ("inconsistent", "other") if study.inconsistent else ("consistent", "same")
    typical = f"the putamen's relevance is typical of the {like} class"
    tiles = [
        _tile("The network says", MEANINGS[study.predicted], study.predicted),
        _tile("Probability of reduced uptake", _share(probability), "not " * (not calibrated) + "calibrated"),
        _tile("Certain?", certain, why, alert=study.certain is False),
        _tile("Relevance map", map_is, typical, alert=study.inconsistent),
    ]
    lowest = _lowest_putamen(study)
    if lowest is not None:
        # This is not always the side of lower binding: left and right have different normal ranges.
        note = f"the lower of the two, {region_words(study, lowest.region)}: {lowest.place} the normal range"
        tiles.append(_tile("Putamen against normal", f"{signed(lowest.z)} SD", note, alert=lowest.place == BELOW))
    return element("dl", tiles, class_="tiles")


class _Lowest(NamedTuple):
    """The putamen that lies lower against normal."""

    z: float
    region: str
    place: str
    """below, within or above the normal range."""


def _lowest_putamen(study: StudyExplanation) -> _Lowest | None:
    if study.comparison is None:
        return None
    found = []
    for region in schema.REGIONS[:2]:
        value, _, lower, upper, z = study.comparison.of(f"{HEADLINE} {region}")
        if np.isfinite(z):
            found.append(_Lowest(z, region, BELOW if value < lower else "above" if value > upper else "within"))
    return min(found, key=lambda one: one.z, default=None)


def _sentences(study: StudyExplanation) -> Iterator[Html]:
    """Say in words what the tiles say, and where they contradict each other."""
    yield element(
        "p",
        f"The network reads {MEANINGS[study.predicted]}. It saw the whole normalised brain, not the binding ratios "
        "below, which are computed beside it.",
    )
    if study.certain is None:
        yield element("p", "Whether the reading is certain is not known: ", marked(study.not_judged))
    elif not study.certain:
        yield _doubt(
            "It is uncertain: studies as close to the border between the classes are wrong more often than others. "
            "Read the images themselves."
        )
    if study.inconsistent:
        yield _doubt(
            "The relevance map is inconsistent: that of the putamen is like that of studies with the other reading. "
            "Such readings are wrong more often than others; look at the images."
        )
    lowest = _lowest_putamen(study)
    if lowest is not None and (lowest.place == BELOW) != (study.predicted == schema.POSITIVE):
        yield _doubt(
            f"Network and binding disagree: the network reads {MEANINGS[study.predicted]}, while the lower putamen "
            f"binding lies {lowest.place} the normal range. Look at the images, the normalisation and the quality."
        )


def _doubt(words: str) -> Html:
    return element("p", words, class_="doubt")


def _pictures(study: StudyExplanation, convention: Convention) -> Iterator[Html]:
    cuts = slices(study, convention)
    yield uptake_row(study, cuts, convention)
    yield relevance_row(study, cuts, convention)
    side = "right" if convention == "radiological" else "left"
    turned = (
        "The network saw the mirror image: in all its studies the side of lower putamen binding is left."
        if study.mirrored
        else "The side of lower putamen binding is the left one, as the network expects it: nothing was mirrored."
    )
    if study.lower_side == schema.UNCERTAIN:
        turned += f" But {SIDE_UNCERTAIN}"
    yield element("p", f"MNI space; the patient's left is on the picture's {side}. {turned}", class_="mirroring")
    yield element(
        "p",
        element("b", "How to read the relevance. "),
        "Yellow and red places spoke for reduced uptake, blue ones for normal uptake; white lines show putamen and "
        "caudate nucleus of the atlas. Relevance tells what this network relied on. It does not say that there is "
        "disease, and a place without relevance may still be abnormal.",
        class_="screen",
    )


def _binding(study: StudyExplanation) -> Iterator[Html]:
    panels = age_panels(study, HEADLINE)
    yield element(
        "figure",
        panels if panels is not None else binding_chart(study, HEADLINE),
        element(
            "figcaption",
            "Specific binding ratios by hottest voxels. ",
            f"Band: 95 % interval of normal studies{' over age in years' * (panels is not None)}; line: expected; "
            "dot: this study, orange where outside."
            if study.comparison is not None
            else f"No normal range: {study.not_compared}",
        ),
    )
    if study.comparison is not None:
        person = study.comparison.person
        sex = {"F": "female", "M": "male"}.get(person.sex, "sex not known")
        place = f"site {person.site}" if person.site else "site not stated"
        yield element(
            "p",
            f"Compared with up to {study.comparison.normals} normal studies of the cohort at {_age(person)}, {sex}, "
            f"{place}.",
        )
        if study.comparison.warnings:
            limits = "; ".join(WARNINGS[code] for code in study.comparison.warnings)
            yield element("p", element("b", "Limits of the comparison: "), f"{limits}.")
    yield _on_screen(_binding_table(study))


def _on_screen(content: Html) -> Html:
    """Show content on the screen alone: the sheet of paper has no room for it."""
    return element("div", content, class_="screen")


def _binding_table(study: StudyExplanation) -> Html:
    return table(
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
    normal = None
    if study.comparison is not None:
        _, _, lower, upper, z = study.comparison.of(measure)
        normal = f"{lower:.2f} to {upper:.2f}; z = {signed(z)}" if np.isfinite(z) else None
    return stacked(number(float(study.binding.binding_ratio[definition, 0, region])), normal)


def _relevance(study: StudyExplanation) -> Iterator[Html]:
    yield element(
        "figure",
        relevance_chart(study),
        element("figcaption", "Share of the whole brain's relevance that lies in each region, by what it speaks for."),
    )
    yield _on_screen(_relevance_table(study))


def _relevance_table(study: StudyExplanation) -> Html:
    rows = []
    hottest = study.orientation * study.regional[:, schema.STATISTICS.index(schema.HOTTEST_MEAN)]
    for name, sbr, mean, (up, down) in zip(
        schema.REGIONS, study.specific_binding_ratio, hottest, masses(study), strict=True
    ):
        binding = number(float(sbr if name != schema.REFERENCE else np.nan))
        sums = scientific(float(up)), scientific(-float(down))
        rows.append((region_words(study, name), binding, scientific(float(mean)), *sums))
    return table(
        "Relevance by region, turned so that positive speaks for reduced uptake. Regions overlap: the whole brain "
        "holds them all.",
        ("Region", "SBR", "Most relevant voxels, mean", "Sum for reduced", "Sum for normal"),
        rows,
    )


def _quality(study: StudyExplanation) -> Iterator[Html]:
    yield element("p", _facts(study), class_="facts")
    codes = (*study.flags, *study.quantification_flags)
    if not codes:
        projections = "projections, " if study.source == schema.PROJECTIONS else ""
        yield element("p", f"Nothing was unusual about {projections}header and binding ratios.")
        return
    yield element("p", element("b", "Unusual: "), "; ".join(explain_code(code)[0].rstrip(".") for code in codes) + ".")
    rows = ((element("code", code), *explain_code(code)) for code in codes)
    yield _on_screen(table("What was unusual.", ("Code", "Meaning", "What to do"), rows, text_columns=3))


MEASURED = {
    "views": ("Views", "{:.0f}"),
    "pixel_size_mm": ("Pixel", "{:.2f} mm"),
    "radius_mm": ("Radius of rotation", "{:.0f} mm"),
    "seconds_per_view": ("Time a view", "{:.0f} s"),
    "injected_activity_mbq": ("Injected", "{:.0f} MBq"),
    "injection_delay_min": ("Delay", "{:.0f} min"),
    "centre_of_rotation_mm": ("Centre of rotation off by", "{:.1f} mm"),
    "count_jump": ("Largest jump of counts", "{:.0%}"),
    "missing_views": ("Missing views", "{:.0f}"),
}
"""What the acquisition says and how it is written, by column of the store."""


def _facts(study: StudyExplanation) -> Iterator[Html]:
    motion = f"{study.motion_mm:.1f} mm" if np.isfinite(study.motion_mm) else "not known"
    told = [("Counts", f"{study.counts / 1e6:.2f} million"), ("Motion of the head", motion)]
    if study.source == schema.TOMOGRAM:
        told = [("Read from a tomogram that was reconstructed elsewhere;", "nothing is known of its projections")]
    for name, (words, form) in MEASURED.items():
        value = study.acquired.get(name) if study.source == schema.PROJECTIONS else None
        if value is not None and np.isfinite(value):
            # Without this a small negative number would be written as −0.0.
            told.append((words, form.format(round(float(value), 4) + 0.0).replace("-", "−").replace("%", " %")))
    scores = ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in study.quality.items())
    told.append(("Normalisation", scores))
    return (element("span", f"{words} ", element("b", value)) for words, value in told)


def _made(study: StudyExplanation) -> Iterator[Html]:
    digests = [f"{name} {stage['digest']}" for name, stage in study.stages.items() if stage.get("digest")]
    model = (f"model {study.model}", f"weights SHA-256 {study.weights_sha256}", f"atlas {study.atlas.digest}")
    yield element("p", "; ".join((f"datbatch {__version__}", *model, *digests)), class_="made")
    rows = [
        (name, element("code", stage.get("digest", "–")), ", ".join(_parameters(stage)))
        for name, stage in study.stages.items()
    ]
    if rows:
        caption = "Steps with the parameters that they were run with."
        yield _on_screen(table(caption, ("Step", "Digest", "Parameters"), rows, text_columns=3))


def _parameters(stage: Mapping[str, Any]) -> Iterator[str]:
    for name, value in stage.get("parameters", {}).items():
        yield f"{name.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"


def _share(probability: float) -> str:
    return f"{100 * probability:.0f} %" if 0.01 <= probability <= 0.99 else "< 1 %" if probability < 0.5 else "> 99 %"
