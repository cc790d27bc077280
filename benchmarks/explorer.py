"""Measures the cohort explorer in a real browser: cohorts of 10,000 and 1,000,000 synthetic studies, beside the bars.

Usage: python benchmarks/explorer.py [--studies N ...] [--chromium FILE]

The folders are written by the explorer's own writer from columns like those of a store, without volumes. Chromium opens
them from disk; the page is ready when table and scatter stand there. "Draws" is a change of axes (a column is read, the
index is built, all points are drawn), "selects" a box dragged over the middle of the scatter until the table shows what
lies in it, "sorts" a press on a heading. Each figure is the worst of three.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from datbatch.report.explorer import Column, write_columns

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
REPEATS = 3
EXTRA_COLUMNS = 60
"""Further figures, as a store has them; the page reads them when they are asked for."""
READY_BAR_S, DRAW_BAR_S = {10_000: 3.0}, {1_000_000: 5.0}


def synthetic_columns(studies: int, seed: int = 0) -> list[Column]:
    rng = np.random.default_rng(seed)
    positive = rng.random(studies) < 0.5
    ratio = np.where(positive, 0.8, 2.2) + 0.3 * rng.standard_normal(studies)
    relevance = 1e-4 * (np.where(positive, 3.0, -3.0) + rng.standard_normal(studies))
    words = {
        "label": np.where(positive, "positive", "negative"),
        "predicted": np.where(ratio < 1.5, "positive", "negative"),
        "site": np.array([f"site {number}" for number in range(12)])[rng.integers(0, 12, studies)],
        "status": np.full(studies, "done"),
    }
    numbers = {
        "sbr_putamen_ipsilateral": ratio,
        "relevance_peak_putamen_ipsilateral": relevance,
        "probability": 1 / (1 + np.exp(8 * (ratio - 1.5))),
        "age": np.clip(65 + 10 * rng.standard_normal(studies), 20, 89),
        **{f"figure_{number}": rng.standard_normal(studies) for number in range(EXTRA_COLUMNS)},
    }
    names = np.array([f"s{number:015x}" for number in range(studies)], dtype=object)
    return [
        Column("study", "Study", "Study", "text", names),
        *(Column(name, name.capitalize(), "Study", "category", values) for name, values in words.items()),
        *(Column(name, name.replace("_", " "), "Figures", "number", values) for name, values in numbers.items()),
    ]


@dataclass
class Seen:
    """What went wrong in the browser."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self.note(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))

    def note(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.requests.append(url)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def choose_axis(page: Page, number: int) -> None:
    """Change the vertical axis, and wait until it has been drawn."""
    page.evaluate(
        """async (name) => {
            const select = document.getElementById("axis-y");
            const drawn = Scatter.prototype.drawNow;
            await new Promise((resolve) => {
                Scatter.prototype.drawNow = function () {
                    drawn.call(this);
                    if (this.yColumn.name === name) resolve();
                };
                select.value = name;
                select.dispatchEvent(new Event("change"));
            });
            Scatter.prototype.drawNow = drawn;
        }""",
        f"figure_{number}",
    )


def drag_box(page: Page) -> None:
    """Select the middle of the scatter, and wait until the table shows it."""
    box = page.locator("#points").bounding_box()
    assert box
    page.evaluate("document.getElementById('count').textContent = ''")
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.7 * box["height"])
    page.mouse.up()
    page.wait_for_function("document.getElementById('count').textContent !== ''")
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")


def sort_column(page: Page) -> None:
    page.locator(".rows .sorter").last.click()
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")


def measure(studies: int, folder: Path, chromium: str) -> bool:
    written = write_columns(synthetic_columns(studies), folder)
    seen, ready = Seen(), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for _ in range(REPEATS):
            page = browser.new_page(viewport={"width": 1400, "height": 850})
            page.set_default_timeout(120_000)
            seen.watch(page)

            def open_page(page: Page = page) -> None:
                page.goto(written.page.as_uri())
                page.wait_for_selector("html[data-ready]", state="attached")

            ready.append(seconds(open_page))
            if len(ready) < REPEATS:
                page.close()
        draws = [seconds(lambda number=number: choose_axis(page, number)) for number in range(REPEATS)]
        selects = [seconds(lambda: drag_box(page)) for _ in range(REPEATS)]
        chosen = page.inner_text("#count")
        sorts = [seconds(lambda: sort_column(page)) for _ in range(REPEATS)]
        browser.close()
    rows = [
        ("ready, s", max(ready), READY_BAR_S.get(studies)),
        ("draws another figure, s", max(draws), DRAW_BAR_S.get(studies)),
        ("selects a box, s", max(selects), DRAW_BAR_S.get(studies)),
        ("sorts the selection, s", max(sorts), None),
        ("network requests", len(seen.requests), 0),
        ("console errors", len(seen.errors), 0),
    ]
    print(f"\n{studies} studies ({written.size_bytes / 1e6:.0f} MB on disk; box: {chosen})")
    for name, value, bar in rows:
        print(f"  {name:<26}{value:>8.3g}  {'' if bar is None else f'bar {bar:g}'}")
    for problem in (*seen.errors, *seen.requests):
        print(f"  {problem}")
    return all(bar is None or value <= bar for _, value, bar in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        passed = [measure(studies, Path(folder) / str(studies), options.chromium) for studies in options.studies]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
