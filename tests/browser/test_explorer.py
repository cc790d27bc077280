"""The explorer, used as a reader uses it."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from playwright.sync_api import Page, expect

from datbatch import schema
from datbatch.cohort.views.query import open_cohort
from datbatch.report.cohort.classification import read_model
from datbatch.report.explorer import write_explorer
from tests.browser.conftest import SMALL, Visit

BRIGHT = """(canvas) => {
    const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let [sum, weighted] = [0, 0];
    for (let at = 0; at < width * height; at += 1)
        if (data[4 * at] > 180) { sum += 1; weighted += (at % width) / width; }
    return sum ? weighted / sum : -1;
}"""
"""Mean place of the bright (not cyan: that is the cursor) pixels, from 0 at the picture's left to 1 at its right."""


@pytest.fixture
def opened(visit: Callable[..., Visit], explorer: Path) -> Visit:
    seen = visit(explorer)
    seen.page.wait_for_selector("html[data-ready]", state="attached")
    return seen


def settle(page: Page) -> None:
    """Wait until what was asked for has been drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def column(page: Page, heading: str) -> list[str]:
    """Cells of the table's seen rows below a heading."""
    settle(page)
    headings = [text.strip(" ↑↓") for text in page.locator(".rows .sorter").all_inner_texts()]
    return page.locator(f".rows tbody td:nth-child({headings.index(heading) + 1})").all_inner_texts()


def figures(texts: list[str]) -> list[float]:
    return [float(text.replace("−", "-")) for text in texts if text != "–"]


def change(node: xr.DataTree | xr.DataArray, **variables: Any) -> None:
    """Put other variables into a group of an opened store; the store stays as it is."""
    assert isinstance(node, xr.DataTree)
    node.dataset = node.to_dataset(inherit=False).assign(variables)


def point(page: Page, study: str) -> tuple[float, float]:
    """Place of a study's point on the screen."""
    x, y = page.evaluate(
        """(name) => {
            const { scatter, cohort } = window.explorerPage;
            const row = cohort.loaded.get("study").lines.indexOf(name);
            const [place, frame] = [scatter.place(), scatter.canvas.getBoundingClientRect()];
            return [frame.left + place.x(scatter.data.xs[row]), frame.top + place.y(scatter.data.ys[row])];
        }""",
        study,
    )
    return x, y


def test_it_opens_from_disk_without_network_errors_or_barriers(opened) -> None:
    page = opened.page
    assert "not a medical device" in page.inner_text("header")
    opened.assert_accessible()
    page.locator(".rows .filterer").nth(3).click()
    opened.assert_accessible()
    page.keyboard.press("Escape")
    page.locator(".rows tbody tr").first.click()
    page.wait_for_selector("#study h2")
    opened.assert_accessible()
    opened.assert_quiet()


def test_every_study_is_listed_and_a_heading_sorts(opened, cohort) -> None:
    page = opened.page
    assert sorted(column(page, "Study")) == sorted(open_cohort(cohort).study.values.tolist())
    heading = page.get_by_role("columnheader", name="Probability")
    heading.locator(".sorter").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    rising = figures(column(page, "Probability"))
    assert rising == sorted(rising)
    assert len(rising) > 3
    assert column(page, "Probability")[-1] == "–", "missing ones come last"
    heading.locator(".sorter").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    assert figures(column(page, "Probability")) == rising[::-1]


def test_filters_of_columns_and_the_search_narrow_the_table(opened) -> None:
    page = opened.page
    ratios = sorted(figures(column(page, "SBR putamen ipsilateral")))
    page.get_by_role("button", name="Filter SBR putamen ipsilateral").click()
    between = (ratios[1] + ratios[2]) / 2
    page.locator("#filter input").first.fill(str(between))
    expect(page.locator("#count")).to_contain_text(" of ")
    left = figures(column(page, "SBR putamen ipsilateral"))
    assert sorted(left) == ratios[2:]
    page.keyboard.press("Escape")
    page.locator(".chip").click()
    page.get_by_role("button", name="Filter Status").click()
    page.get_by_role("checkbox", name="failed").check()
    expect(page.locator("#chips")).to_contain_text("Status: failed")
    assert set(column(page, "Status")) == {"failed"}
    page.keyboard.press("Escape")
    page.locator(".chip").click()
    name = column(page, "Study")[4]
    page.fill("#search", name[2:])
    expect(page.locator("#count")).to_have_text("1 of 12 studies")
    assert column(page, "Study") == [name]


def test_points_selected_in_the_scatter_are_those_of_the_table(opened) -> None:
    page = opened.page
    ratio = dict(zip(column(page, "Study"), column(page, "SBR putamen ipsilateral"), strict=True))
    done = [name for name, text in ratio.items() if text != "–"]
    places = {name: point(page, name) for name in done}
    # A box around the lower half of all points, by their own places.
    middle = sorted(x for x, _ in places.values())[len(done) // 2] - 1.0
    frame = page.locator("#points").bounding_box()
    assert frame
    page.mouse.move(frame["x"] + 54, frame["y"] + 32)
    page.mouse.down()
    page.mouse.move(middle, frame["y"] + frame["height"] - 47, steps=3)
    page.mouse.up()
    expect(page.locator("#chips")).to_contain_text("Selected in the scatter")
    assert sorted(column(page, "Study")) == sorted(name for name, (x, _) in places.items() if x < middle)
    page.locator("#points").press("Escape")
    expect(page.locator("#chips li")).to_have_count(0)


def test_a_click_leads_from_a_point_to_its_volume(opened) -> None:
    page = opened.page
    name = next(
        study for study, text in zip(column(page, "Study"), column(page, "Probability"), strict=True) if text != "–"
    )
    page.mouse.click(*point(page, name))
    page.wait_for_selector(f"#study[data-planes='{name}']")
    expect(page.locator("#study h2")).to_have_text(name)
    assert page.url.endswith(f"#{name}")
    for canvas in page.locator(".planes canvas").all():
        shades = canvas.evaluate("(c) => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size")
        assert shades > 50, "an image, not a plain field"
    page.go_back()
    expect(page.locator("#study")).to_be_hidden()
    opened.assert_quiet()


def test_everything_can_be_done_by_keyboard(opened) -> None:
    page = opened.page
    names = column(page, "Study")
    page.locator("#rows").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#rows")).to_have_attribute("aria-activedescendant", "row-2")
    page.keyboard.press("Enter")
    expect(page.locator("#study h2")).to_have_text(names[2])
    page.keyboard.press("ArrowDown")
    expect(page.locator("#study h2")).to_have_text(names[3])
    page.locator("#study .bar button").last.press("Enter")
    expect(page.locator("#study")).to_be_hidden()
    page.locator("#points").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    settle(page)
    told = page.inner_text("#point-told")
    assert told.split(":")[0] in names
    page.keyboard.press("+")
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    expect(page.locator("#study h2")).to_have_text(told.split(":")[0])
    page.wait_for_selector("#study[data-planes]")
    before = page.inner_text(".readout")
    page.locator("[data-plane=transaxial]").press("ArrowLeft")
    expect(page.locator(".readout")).not_to_have_text(before)
    page.keyboard.press("Escape")
    expect(page.locator("#study")).to_be_hidden()
    opened.assert_quiet()


def test_a_failed_study_says_why_and_what_to_do(opened, cohort) -> None:
    tree = open_cohort(cohort)
    row = int(np.flatnonzero(tree.status.values == schema.FAILED)[0])
    opened.page.get_by_text(str(tree.study.values[row])).click()
    said = opened.page.locator("#study .fault")
    expect(said).to_contain_text(str(tree.error_code.values[row]))
    expect(said).to_contain_text("What to do:")


def test_a_small_screen_shows_one_thing_after_the_other(visit, explorer) -> None:
    seen = visit(explorer, size=SMALL)
    seen.page.wait_for_selector("html[data-ready]", state="attached")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= SMALL[0]
    seen.page.locator(".rows tbody tr").first.click()
    seen.page.wait_for_selector("#study h2")
    box = seen.page.locator("#study").bounding_box()
    assert box
    assert (box["width"], box["height"]) == SMALL
    seen.assert_accessible()
    seen.assert_quiet()


def test_the_saved_list_holds_what_the_table_shows(opened) -> None:
    page = opened.page
    with page.expect_download() as download:
        page.get_by_role("button", name="Save list").click()
    rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
    assert [row["study"] for row in rows] == column(page, "Study")


def test_what_is_hot_on_the_patients_left_is_drawn_below_the_mark_l(visit, cohort, tmp_path) -> None:
    tree = open_cohort(cohort)
    done = np.flatnonzero(tree.status.values == schema.DONE)[:2]
    mirrored = np.zeros(tree.sizes["study"], dtype=bool)
    mirrored[done[1]] = True
    x, y, z = np.meshgrid(*(schema.coordinates_mm(axis) for axis in range(3)), indexing="ij")
    hot = np.zeros((tree.sizes["study"], *schema.SHAPE), dtype=np.float32)
    for row in done:
        # In the store a mirrored study has its left at x > 0.
        left = 24.0 if mirrored[row] else -24.0
        hot[row] = np.exp(-((x - left) ** 2 + (y - 4) ** 2 + (z - 4) ** 2) / 150.0)
    (model,) = tree["relevance"].children
    change(tree, uptake=(schema.UPTAKE.dims, hot), mirrored=("study", mirrored))
    change(tree[f"relevance/{model}"], map=(schema.UPTAKE.dims, read_model(tree, model).sign * hot))
    written = write_explorer(tree, tmp_path / "explorer", quiet=True)
    for row in done:
        page = visit(written.page, fragment=f"#{tree.study.values[row]}").page
        page.wait_for_selector("#study[data-planes]")
        for relevance in (True, False):
            page.get_by_role("checkbox", name="relevance").set_checked(relevance)
            for own in (True, False):
                page.get_by_role("checkbox", name="own left and right").set_checked(own)
                settle(page)
                for plane in ("transaxial", "coronal"):
                    figure = page.locator(f".planes .{plane}")
                    bright = figure.locator("canvas").evaluate(BRIGHT)
                    side = "right" if bright > 0.5 else "left"
                    assert bright >= 0
                    assert abs(bright - 0.5) > 0.08
                    assert "L" in figure.locator(f".mark.{side}").inner_text()
                    assert "R" not in figure.locator(f".mark.{side}").inner_text()
                    if own:
                        assert side == "right", "radiological: the patient's left on the picture's right"


def test_words_of_the_data_are_never_read_as_markup(visit, cohort, tmp_path) -> None:
    bad = "</script><img src=x onerror=alert(1)>"
    tree = open_cohort(cohort)
    row = int(np.flatnonzero(tree.status.values == schema.FAILED)[0])
    for name in ("error_reason", "site", "scanner"):
        words = tree[name].values.astype(object).copy()
        words[row] = bad
        change(tree, **{name: ("study", words)})
    written = write_explorer(tree, tmp_path / "explorer", volumes=0, quiet=True)
    seen = visit(written.page, fragment=f"#{tree.study.values[row]}")
    seen.page.wait_for_selector("html[data-ready]", state="attached")
    expect(seen.page.locator("#study .fault")).to_contain_text(bad)
    assert seen.page.locator("img").count() == 0
    seen.assert_quiet()
