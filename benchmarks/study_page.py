"""Pages of single studies in a real browser: size, and time until the live view stands.

    python benchmarks/study_page.py --cohort demo/cohort.zarr --studies 5

Beside each page stands a bare one of the same browser, opened in the same way: the share of the time that is not ours.
Needs playwright and Chromium (`--browser` names another one).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from datbatch.archive.origin import read_origin
from datbatch.cohort.views.query import open_cohort
from datbatch.cohort.views.results import ResultsReader, positions
from datbatch.report.study.page import study_page
from datbatch.report.study.stored import StoredStudies

OPTIONS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]
BARE = "<!DOCTYPE html><html lang=en><title>bare</title><p id=viewer data-state=ready>bare</p></html>"


def seconds_to_ready(browser: Browser, page: Path) -> float:
    """Open a page in a fresh context; wall time until it says that it is ready."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    tab = context.new_page()
    start = time.perf_counter()
    tab.goto(page.as_uri())
    tab.wait_for_selector("#viewer[data-state=ready]", state="attached", timeout=60_000)
    seconds = time.perf_counter() - start
    context.close()
    return seconds


def main() -> None:
    """Write the pages, open them, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path, default=Path("demo/cohort.zarr"))
    parser.add_argument("--studies", type=int, default=5)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    options = parser.parse_args()
    tree = open_cohort(options.cohort)
    reader = ResultsReader(tree)
    stored = StoredStudies(tree, options.cohort, archive=read_origin(options.cohort).archive)
    ready = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=options.browser, args=OPTIONS)
        bare = Path(folder) / "bare.html"
        bare.write_text(BARE, encoding="utf-8")
        print(f"{'study':<20} {'MB':>6} {'written in s':>13} {'ready in s':>11} {'bare page s':>12}")
        for index in positions(tree)[: options.studies]:
            start = time.perf_counter()
            content = study_page(stored.explained(reader[index])).encode()
            written = time.perf_counter() - start
            page = Path(folder) / "study.html"
            page.write_bytes(content)
            ready.append(seconds_to_ready(browser, page))
            beside = seconds_to_ready(browser, bare)
            size = len(content) / 1e6
            print(f"{reader.study(index):<20} {size:>6.2f} {written:>13.2f} {ready[-1]:>11.2f} {beside:>12.2f}")
        browser.close()
    print(f"median {statistics.median(ready):.2f} s, longest {max(ready):.2f} s")


if __name__ == "__main__":
    main()
