"""Pages in a real browser: Chromium from the system, opened from disk, watched for errors and requests."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.pipeline import call_command, made_once

FLAGS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
"""With WebGL by software, which needs no graphics card."""
WIDE, SMALL = (1400, 850), (390, 844)
LOCAL = ("file:", "data:", "blob:")
AXE_OPTIONS = {"resultTypes": ["violations"], "preload": False}
"""Preloading would ask for style sheets again, which a page that may connect to nothing forbids."""


@dataclass
class Visit:
    """One page, what it said and what it asked of the network."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("request", lambda request: request.url.startswith(LOCAL) or self.asked.append(request.url))

    def assert_quiet(self) -> None:
        assert self.said == []
        assert self.asked == []

    def assert_accessible(self) -> None:
        """No finding of axe-core that it calls serious or critical."""
        violations: list[dict[str, Any]] = Axe().run(self.page, options=AXE_OPTIONS).response["violations"]
        serious = [
            f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
            for one in violations
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []


# Not for the session: a second driver could not be started while this one runs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this system (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open a file as a reader does by a double click."""
    opened = []

    def open_file(path: Path, *, size: tuple[int, int] = WIDE, fragment: str = "") -> Visit:
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        opened.append(page)
        seen = Visit(page)
        page.goto(path.as_uri() + fragment)
        return seen

    yield open_file
    for page in opened:
        page.close()


@pytest.fixture(scope="session")
def explorer(shared_folder: Path, cohort: Path) -> Path:
    """The explorer of the shared cohort, written by its command."""
    folder = shared_folder / "made-explorer"
    target = folder / "explorer"
    made_once(folder, lambda: call_command("explore", cohort, "--output", target, "--quiet") and None)
    return target / "index.html"
