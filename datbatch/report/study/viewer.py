"""The live three-plane view of a study's page: its volumes, its code, and the policy that allows no other code.

Volumes and code travel inside the page, compressed; browsers unpack them themselves.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.imaging import Volume
from datbatch.imaging.nifti import nifti_bytes
from datbatch.report.parts.document import POLICY, shipped
from datbatch.report.parts.hypertext import Html, element
from datbatch.report.parts.planes import Convention, symmetric_limits, uptake_limits
from datbatch.report.parts.raster import GREY_COLOURS, HOT_IRON_COLOURS, OVERLAY_COLOURS, Colours
from datbatch.report.study.pictures import OPAQUE, VISIBLE, around_brain, region_words
from datbatch.study.explained import StudyExplanation

UPTAKE_STEP = 0.01
"""Uptake in the page is rounded to this; the files beside it are exact."""
SEEN = (VISIBLE + OPAQUE) / 2
"""Share of the scale from which the live view shows relevance: unlike the pictures it has no gradual opacity."""
RELEVANCE_STEPS = 1000
"""Relevance in the page is rounded to its largest magnitude over this."""


@lru_cache(maxsize=1)
def policy() -> str:
    """Give the content security policy of a page with the viewer: its two scripts, by their digests, and no other."""
    own, niivue = _code()
    hashes = " ".join(f"'sha256-{_sha256(text)}'" for text in (own.encode("utf-8"), gzip.decompress(niivue)))
    return f"{POLICY}; script-src {hashes}"


def viewer(study: StudyExplanation, convention: Convention) -> Html:
    """Write the view; it is shown once its script has found what it needs."""
    # The grid is symmetric about x = 0, so that a flip is exact.
    step = -1 if study.mirrored else 1
    uptake, relevance = study.uptake[::step], study.orientation * study.relevance[::step]
    labels = np.asarray(study.atlas.labels[::step], dtype=np.uint8)
    top = float(np.abs(relevance).max()) or 1.0
    limits = symmetric_limits([relevance])
    places = _places(study, uptake)
    settings = {
        "grid": {"size": schema.SHAPE, "origin": schema.ORIGIN_MM, "spacing": schema.SPACING_MM},
        "radiological": convention == "radiological",
        "uptake": uptake_limits([uptake[labels > 0] if labels.any() else uptake]),
        "relevance": [SEEN * limits[1], limits[1]],
        "regions": ["", *(region_words(study, name) for name in schema.ATLAS_LABELS)],
        "start": places[0][1],
        "colours": {
            "grey-scale": _colour_map(GREY_COLOURS),
            "hot-iron": _colour_map(HOT_IRON_COLOURS),
            "speaks-for": _colour_map(_half(1), start=SEEN),
            "speaks-against": _colour_map(_half(-1), start=SEEN),
        },
    }
    blocks = (
        _block("viewer-uptake", _volume(around_brain(labels > 0, uptake), UPTAKE_STEP)),
        _block("viewer-relevance", _volume(around_brain(labels > 0, relevance), top / RELEVANCE_STEPS)),
        _block("viewer-regions", gzip.compress(labels.tobytes(order="F"), compresslevel=9, mtime=0)),
        _block("viewer-code", _code()[1]),
        data_block("viewer-settings", settings),
    )
    live = element(
        "div",
        element(
            "div",
            element(
                "canvas", id="viewer-canvas", tabindex=0, role="img", width=1040, height=382,
                aria_label="Coronal, sagittal and transaxial plane through one place, relevance over uptake. "
                "Arrow keys, page up and page down move the place.",
            ),
            class_="viewer-canvas",
        ),
        element("p", element("span", id="viewer-place"), element("span", id="viewer-values"), class_="readout",
                aria_live="polite"),
        _controls(study, places),
        id="viewer-live",
        hidden=True,
    )  # fmt: skip
    caption = (
        f"Three planes through one place, in MNI space, {convention} convention; L, R: the patient’s sides. Click or "
        "drag to move, turn the wheel to go through the slices, drag with the right button to change the window. "
        f"Relevance under {100 * SEEN:.0f} % of the scale's end is left clear. Uptake is rounded to {UPTAKE_STEP:g}, "
        f"relevance to {100 / RELEVANCE_STEPS:g} % of its largest value."
    )
    return element(
        "figure",
        live,
        element("p", "This browser cannot show the live view (it needs WebGL 2); the still pictures hold the same.",
                id="viewer-missing", hidden=True),
        element("figcaption", caption),
        blocks,
        id="viewer",
    )  # fmt: skip


def scripts() -> Html:
    """Write the page's own script: the last thing in its body."""
    return Html(f"<script>{_code()[0]}</script>")


def _controls(study: StudyExplanation, places: Sequence[tuple[str, list[float]]]) -> Html:
    return element(
        "div",
        element("label", element("input", type="checkbox", id="viewer-shown", checked=True), "Relevance"),
        element("label", "Opacity", element("input", type="range", id="viewer-opacity", min=0, max=100, value=65)),
        element(
            "label", "Uptake in",
            element("select", element("option", "grey", value="grey-scale"),
                    element("option", "hot iron", value="hot-iron"), id="viewer-scale"),
        ),
        element("span", "Go to:"),
        (element("button", words, type="button", data_mm=" ".join(f"{v:g}" for v in mm)) for words, mm in places),
        class_="controls",
    )  # fmt: skip


def _places(study: StudyExplanation, uptake: npt.NDArray[np.float32]) -> list[tuple[str, list[float]]]:
    """Give each putamen and the place of greatest relevance, in the patient's own MNI mm."""
    oriented = study.orientation * study.relevance[:: -1 if study.mirrored else 1]
    chosen = oriented if study.predicted == schema.POSITIVE else -oriented
    peak = np.unravel_index(int(np.argmax(chosen)), chosen.shape)
    most = [float(schema.coordinates_mm(axis)[index]) for axis, index in enumerate(peak)]
    return [("left putamen", [-26.0, 2.0, 0.0]), ("right putamen", [26.0, 2.0, 0.0]), ("most relevant place", most)]


def _volume(volume: Volume, step: float) -> bytes:
    rounded = np.clip(np.rint(np.nan_to_num(volume.data) / step), -32767, 32767).astype(np.int16)
    content = nifti_bytes(rounded, volume.affine, slope=step, description="patient L x<0")
    return gzip.compress(content, compresslevel=9, mtime=0)


def _colour_map(colours: Colours, *, start: float = 0.0) -> dict[str, list[int]]:
    """Give a table of 256 colours, the first of them clear; it begins at a share of the scale."""
    at = np.linspace(start, 1.0, 256)
    places = [place for place, _ in colours]
    table = {
        name: np.interp(at, places, [255 * rgb[channel] for _, rgb in colours]) for channel, name in enumerate("RGB")
    }
    table["A"] = np.where(np.arange(256) == 0, 0.0, 255.0)
    return {name: np.rint(values).astype(int).tolist() for name, values in {**table, "I": np.arange(256.0)}.items()}


def _half(sign: int) -> Colours:
    """Give the half of the overlay's colours for one sign, from small to great magnitude."""
    middle = len(OVERLAY_COLOURS) // 2
    half = OVERLAY_COLOURS[middle:] if sign > 0 else OVERLAY_COLOURS[middle - 1 :: -1]
    return tuple((abs(2.0 * place - 1.0), rgb) for place, rgb in half)


def _block(name: str, compressed: bytes) -> Html:
    text = base64.b64encode(compressed).decode("ascii")
    return Html(f'<script type="application/gzip" id="{name}">{text}</script>')


def data_block(name: str, values: Any) -> Html:
    """Write values as JSON for the page's script."""
    # A closing tag inside the block would end it.
    text = json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{name}">{text}</script>')


def _sha256(text: bytes) -> str:
    return base64.b64encode(hashlib.sha256(text).digest()).decode("ascii")


@lru_cache(maxsize=1)
def _code() -> tuple[str, bytes]:
    """Give the page's own script, and NiiVue compressed."""
    return shipped("study_page.js").decode("utf-8"), shipped("niivue.umd.js.gz")
