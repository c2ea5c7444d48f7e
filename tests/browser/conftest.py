"""One panel and one Chromium for the whole suite; a fresh browser context, and so a fresh sign-in, per test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.support.incus_lab import IMAGE, IncusLab, incus_lab
from tests.support.panel import PASSWORD, RunningPanel
from tests.support.tmux_image import ensure_tmux_image

CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass(frozen=True)
class Site:
    """The running panel, Ana's API token, and the lab that her containers are in."""

    panel: RunningPanel
    token: str
    lab: IncusLab
    first_link: str

    @property
    def url(self) -> str:
        return self.panel.url


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with incus_lab() as lab:
        ensure_tmux_image(lab.api, IMAGE)
        panel = RunningPanel(tmp_path_factory.mktemp("panel"), lab_environment(lab))
        try:
            said = panel.start()
            link = next(word for word in said.split() if "/sign-in/" in word)
            yield Site(panel, panel.make_people(), lab, link)
        finally:
            panel.stop()


def lab_environment(lab: IncusLab) -> dict[str, str]:
    return {
        "COI_INCUS_PROJECT": lab.name,
        "COI_INCUS_POOL": lab.name,
        "COI_INCUS_NETWORK": lab.name,
    }


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("COI_TEST_CHROMIUM", "/usr/bin/chromium"), args=CHROMIUM_FLAGS
        )
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=site.url, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page on which no script may fail and no policy be broken; a failing test leaves a screenshot."""
    page = context.new_page()
    complaints = watch_console(page)
    failures = request.session.testsfailed
    yield page
    folder = os.environ.get("COI_TEST_SCREENSHOTS")
    if folder and request.session.testsfailed > failures:
        page.screenshot(path=Path(folder) / f"{request.node.name}.png")
    assert not complaints, complaints


def watch_console(page: Page) -> list[str]:
    """What goes wrong on the page from now on.  Answers of 4xx that a test provokes do not count."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


SignIn = Callable[..., Page]


@pytest.fixture
def sign_in(page: Page) -> SignIn:
    def go(username: str = "ana", page: Page = page) -> Page:
        page.goto("/account/login/")
        page.get_by_label("User name or e-mail").fill(username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/")
        return page

    return go
