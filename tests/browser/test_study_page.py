"""The page of one study in a real browser: live, offline, the patient's left where it is marked, one sheet on paper."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datbatch.archive import Acquisition
from datbatch.norms import WARNINGS
from datbatch.report.study.page import study_page
from tests.browser.conftest import Visit
from tests.report.explained import HOT, comparison, explained_study, with_ages

FLAGS = (
    "motion", "cut-top", "start-angle-from-rotation", "hot-spot", "pixels-saturated", "counts-low",
)  # fmt: skip


def live(browser: Any, path: Path, script: str = "") -> Visit:
    """Open a page and wait until it knows whether it can draw."""
    seen = Visit(browser.new_page(viewport={"width": 1160, "height": 900}))
    seen.page.add_init_script(script)
    seen.page.goto(path.as_uri())
    seen.page.wait_for_selector("#viewer[data-state]", state="attached")
    return seen


def pixels_of(seen: Visit) -> np.ndarray:
    """Give the live view: shape (row, column, 3)."""
    seen.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    picture = seen.page.locator("#viewer-canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=np.int64)


def projections() -> Acquisition:
    counts = np.random.default_rng(3).poisson(9.0, (24, 64, 64)).astype(np.uint16)
    return Acquisition(counts, np.arange(24) * 15.0, 4.0, 4.0, np.full(24, 140.0))


@pytest.fixture(scope="module", params=[False, True], ids=["as stored", "mirrored"])
def opened(request: pytest.FixtureRequest, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    study = explained_study(mirrored=request.param, projections=projections())
    path = tmp_path_factory.mktemp("page") / "study.html"
    path.write_text(study_page(study), encoding="utf-8")
    found = live(browser, path)
    yield found
    found.page.close()


def crosshair_column(pixels: np.ndarray) -> int:
    """Find the upright green line in the transaxial plane, which comes first."""
    plane = pixels[:, : pixels.shape[1] // 3]
    green = (plane[..., 1] > plane[..., 0] + 60) & (plane[..., 1] > plane[..., 2] + 40)
    return int(green.sum(axis=0).argmax())


def test_the_page_comes_alive_offline_and_without_complaint(opened) -> None:
    assert opened.page.get_attribute("#viewer", "data-state") == "ready"
    assert opened.page.is_visible("#viewer-live")
    assert not opened.page.is_visible("#viewer-missing")
    opened.assert_quiet()


def test_the_policy_lets_no_other_script_run(opened) -> None:
    opened.page.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'window.other = 1';"
        " document.head.append(one); }"
    )
    assert opened.page.evaluate("() => window.other === undefined")
    assert any("Content Security Policy" in words for words in opened.said)
    opened.said.clear()


def test_the_hot_place_is_drawn_on_the_side_that_is_marked_left(opened) -> None:
    page = opened.page
    page.uncheck("#viewer-shown")
    page.click("button:has-text('right putamen')")
    right = crosshair_column(pixels_of(opened))
    page.click("button:has-text('left putamen')")
    assert crosshair_column(pixels_of(opened)) > right, "radiological: the patient's left is on the right"
    page.click("button:has-text('right putamen')")
    pixels = pixels_of(opened)
    bright = (pixels.min(axis=2) > 110)[:, : pixels.shape[1] // 3]
    # Letters stand at the edges.
    bright[:40], bright[-40:], bright[:, :40] = False, False, False
    rows, columns = np.nonzero(bright)
    assert len(rows) > 200
    page.locator("#viewer-canvas").click(position={"x": float(columns.mean()), "y": float(rows.mean())})
    told = page.inner_text("#viewer-place")
    assert "patient’s left" in told
    assert "left putamen" in told
    x, y, z = (int(value.replace("−", "-")) for value in re.search(r"x (\S+) mm .*y (\S+), z (\S+) mm", told).groups())
    assert abs(x - HOT[0]) <= 4
    assert abs(y - HOT[1]) <= 4
    assert abs(z - HOT[2]) <= 2
    assert columns.mean() > right
    page.check("#viewer-shown")


def test_relevance_can_be_laid_over_and_taken_away(opened) -> None:
    page = opened.page
    page.check("#viewer-shown")

    def coloured() -> int:
        pixels = pixels_of(opened)
        return int((pixels[..., 0] > pixels[..., 2] + 80).sum())

    shown = coloured()
    page.uncheck("#viewer-shown")
    assert coloured() < 0.1 * shown
    page.check("#viewer-shown")
    assert coloured() == shown
    assert opened.said == []


def test_the_place_moves_by_keys(opened) -> None:
    opened.page.click("button:has-text('left putamen')")
    opened.page.focus("#viewer-canvas")
    opened.page.keyboard.press("ArrowLeft")
    # Radiological: what lies left on the screen is further right.
    assert opened.page.inner_text("#viewer-place").startswith("x -24 mm")
    opened.page.keyboard.press("PageUp")
    assert "z 2 mm" in opened.page.inner_text("#viewer-place")


def test_the_film_turns(opened) -> None:
    page = opened.page
    assert page.inner_text("#film-angle") == "0°"
    assert (page.inner_text("#film-left"), page.inner_text("#film-right")) == ("L", "R")
    page.fill("#film-place", "12")
    assert page.inner_text("#film-angle") == "180°"
    assert (page.inner_text("#film-left"), page.inner_text("#film-right")) == ("R", "L")
    page.wait_for_function(
        "() => { const strip = document.getElementById('film-strip').getBoundingClientRect();"
        " const shown = document.querySelector('.window').getBoundingClientRect();"
        " return Math.abs(shown.y - strip.y - 12 * shown.height) < 1.5; }"
    )
    page.click("#film-play")
    page.wait_for_function("() => document.getElementById('film-place').value !== '12'")
    page.click("#film-play")
    assert page.inner_text("#film-play") == "Play"


def test_without_webgl_the_pictures_remain(browser, tmp_path) -> None:
    path = tmp_path / "study.html"
    path.write_text(study_page(explained_study()), encoding="utf-8")
    nothing = "HTMLCanvasElement.prototype.getContext = () => null;"
    opened = live(browser, path, nothing)
    assert opened.page.get_attribute("#viewer", "data-state") == "unavailable"
    assert opened.page.is_visible("#viewer-missing")
    assert not opened.page.is_visible("#viewer-live")
    assert opened.page.locator(".slice img").count() == 12
    assert opened.page.evaluate("() => [...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert opened.said == []
    opened.page.close()


def test_the_page_is_one_sheet_of_paper_whatever_is_said(browser, tmp_path) -> None:
    crowded = replace(with_ages(comparison(0.1)), warnings=tuple(WARNINGS)[1:7])
    studies = {
        "bare": explained_study(comparison=None, not_compared="there is none"),
        "usual": explained_study(comparison=with_ages(comparison()), projections=projections()),
        "crowded": explained_study(
            comparison=crowded, certain=False, inconsistent=True, projections=projections(), flags=FLAGS,
            study="s2abcdefghijklmno", simulated=True,
        ),
    }  # fmt: skip
    for name, study in studies.items():
        path = tmp_path / f"{name}.html"
        path.write_text(study_page(study), encoding="utf-8")
        opened = live(browser, path)
        sheet = opened.page.pdf(prefer_css_page_size=True, print_background=True)
        assert len(re.findall(rb"/Type\s*/Page\b", sheet)) == 1, name
        assert opened.said == []
        opened.page.close()
