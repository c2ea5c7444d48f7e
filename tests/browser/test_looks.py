"""Every page in light and dark, wide and narrow: axe finds nothing, nothing overflows, no script fails.

With COI_TEST_SCREENSHOTS=<folder> each page leaves its picture there, to be looked at.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Site, watch_console
from tests.browser.screens import wait_for_prompt
from tests.support.panel import PASSWORD, wait_for

WIDTHS = {"wide": 1440, "middle": 1024, "phone": 390}
PAGES = {
    "ana": [
        "/", "/sessions/", "/sessions/new/", "/sessions/{session}/", "/sessions/{session}/terminal/", "/workspaces/",
        "/workspaces/new/", "/operations/", "/audit/", "/account/tokens/", "/account/password/change/",
        "/account/2fa/", "/people/", "/no-such-page/",
    ],
    "ada": [
        "/people/", "/people/new/", "/people/users/ana/", "/people/new-team/", "/health/", "/audit/", "/api/docs/", "/",
    ],
    "sven": ["/", "/sessions/", "/workspaces/", "/operations/", "/audit/"],
    "": ["/account/login/", "/sign-in/nonsense/"],
}  # fmt: skip


@pytest.fixture(scope="module")
def session_name(site: Site) -> str:
    """A running session of Ana's, made over the API."""
    status, workspace = site.panel.api(site.token, "POST", "workspaces/", {"name": "looks"})
    assert status in (200, 201, 202), workspace
    status, made = site.panel.api(
        site.token, "POST", "sessions/", {"workspace": "ana.looks", "mode": "ephemeral"}
    )
    assert status in (200, 201, 202), made
    name = str((made.get("session") or made)["name"])

    def is_running() -> bool:
        found = site.panel.api(site.token, "GET", f"sessions/{name}/")[1]
        return bool(found["state"] == "running")

    wait_for("the session to run", is_running, timeout_s=60)
    return name


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("who", list(PAGES))
def test_pages(browser: Browser, site: Site, session_name: str, who: str, theme: str) -> None:
    context = browser.new_context(base_url=site.url, color_scheme="dark" if theme == "dark" else "light")
    page = context.new_page()
    complaints = watch_console(page)
    if who:
        page.goto("/account/login/")
        page.get_by_label("User name or e-mail").fill(who)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/")
    for path in PAGES[who]:
        address = path.format(session=session_name)
        for width_name, width in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(address)
            if address.endswith("/terminal/"):
                wait_for_prompt(page)
            _look(page, f"{who or 'nobody'}-{path}-{width_name}-{theme}")
            overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 0, f"{address} is {overflow} px too wide at {width} px"
        found = Axe().run(page)
        assert found.violations_count == 0, f"{address} ({theme}):\n{found.generate_report()}"
    assert not complaints, complaints
    context.close()


def _look(page: Page, name: str) -> None:
    folder = os.environ.get("COI_TEST_SCREENSHOTS")
    if folder:
        safe = name.replace("/", "_").replace("{session}", "session")
        page.screenshot(path=Path(folder) / f"{safe}.png")
