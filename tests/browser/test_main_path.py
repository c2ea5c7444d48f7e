"""From a one-time link to a shell that outlives a reload, as somebody on their first day walks it."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import Page, expect

from coi_web.errors import IncusNotFound
from tests.browser.conftest import SignIn, Site
from tests.browser.screens import screen, type_line, wait_for_prompt, wait_for_text
from tests.support.panel import wait_for


def start_session(page: Page, *, mode: str = "Ephemeral") -> str:
    """Through the page *New session* to an open terminal; returns the session's name."""
    page.goto("/sessions/new/")
    page.get_by_role("radio", name="A new one").check()
    page.get_by_label("Name").fill(f"w{uuid.uuid4().hex[:8]}")
    page.get_by_role("radio", name=re.compile(mode)).check()
    page.get_by_role("button", name="Start session").click()
    page.wait_for_url(re.compile(r"/sessions/coi-[0-9a-f]{8}-\d+/terminal/"), timeout=60_000)
    name = page.url.rstrip("/").split("/")[-2]
    wait_for_prompt(page)
    return name


def session_page(page: Page, name: str) -> None:
    page.goto(f"/sessions/{name}/")
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)


def press_and_confirm(page: Page, action: str) -> None:
    """In the dialog, or on the page of its own that a click before the scripts have loaded leads to."""
    page.get_by_role("link", name=action, exact=True).click()
    button = page.get_by_role("button", name=f"{action} it")
    button.wait_for()
    word = page.locator("[data-confirm-word]")
    if word.count():
        word.fill(word.get_attribute("data-confirm-word") or "")
    button.click()


def test_the_first_administrator_signs_in_by_a_link_that_works_once(page: Page, site: Site) -> None:
    page.goto(site.first_link)
    page.get_by_label("Password", exact=True).fill("a long enough secret")
    page.get_by_label("The same again").fill("a long enough secret")
    page.get_by_role("button", name="Sign in as admin").click()
    page.wait_for_url(f"{site.url}/")
    expect(page.get_by_role("navigation").first).to_contain_text("People")

    page.context.clear_cookies()
    page.goto(site.first_link)
    expect(page.locator("body")).to_contain_text("used already")


def test_type_reload_and_type_on(page: Page, sign_in: SignIn) -> None:
    sign_in()
    name = start_session(page)
    type_line(page, "whoami; pwd; echo mark-$((40 + 2))")
    seen = wait_for_text(page, "mark-42")
    assert "code" in seen and "/workspace" in seen

    type_line(page, "x=kept-in-memory; echo file > /workspace/file")
    page.reload()
    wait_for_text(page, "mark-42")
    type_line(page, "echo $x-$(cat /workspace/file)")
    wait_for_text(page, "kept-in-memory-file")

    page.get_by_role("link", name="Detach").click()
    page.wait_for_url(f"**/sessions/{name}/")
    page.get_by_role("link", name="Open terminal").click()
    wait_for_text(page, "kept-in-memory-file")


def test_end_deletes_an_ephemeral_container_and_keeps_the_files(
    page: Page, sign_in: SignIn, site: Site
) -> None:
    sign_in()
    name = start_session(page)
    type_line(page, "echo precious > /workspace/notes")
    session_page(page, name)
    workspace = page.locator("nav.crumbs li").last.inner_text()
    press_and_confirm(page, "End")
    expect(page.get_by_role("heading", level=1)).to_contain_text("ended", timeout=40_000)
    with pytest.raises(IncusNotFound):
        site.lab.api.instance(name)

    page.get_by_role("link", name=re.compile("Start a new session on")).click()
    expect(page.get_by_role("radio", name=re.compile(re.escape(workspace)))).to_be_checked()
    page.get_by_role("button", name="Start session").click()
    page.wait_for_url("**/terminal/", timeout=60_000)
    wait_for_prompt(page)
    type_line(page, "cat /workspace/notes")
    wait_for_text(page, "precious")


def test_stop_keeps_a_persistent_container_and_kill_deletes_it(
    page: Page, sign_in: SignIn, site: Site
) -> None:
    sign_in()
    name = start_session(page, mode="Persistent")
    type_line(page, "echo installed > ~/installed; sync; echo done-$((1 + 1))")
    wait_for_text(page, "done-2")
    session_page(page, name)
    press_and_confirm(page, "Stop")
    page.get_by_role("button", name="Start again").click(timeout=40_000)
    page.get_by_role("link", name="Open terminal").click(timeout=40_000)
    wait_for_prompt(page)
    type_line(page, "cat ~/installed")
    wait_for_text(page, "installed")

    session_page(page, name)
    press_and_confirm(page, "Kill")
    expect(page.get_by_role("heading", level=1)).to_contain_text("ended", timeout=40_000)
    with pytest.raises(IncusNotFound):
        site.lab.api.instance(name)


def test_what_happens_outside_shows_within_moments(page: Page, sign_in: SignIn, site: Site) -> None:
    """Somebody stops the container with ``incus``: page and terminal say so without a reload."""
    sign_in()
    name = start_session(page, mode="Persistent")
    other = page.context.new_page()
    session_page(other, name)
    site.lab.api.stop_instance(name, force=True, timeout_s=30)
    expect(other.get_by_role("heading", level=1)).to_contain_text("stopped", timeout=10_000)
    expect(page.locator("[data-notice]")).to_be_visible(timeout=10_000)
    press_and_confirm(other, "Kill")
    expect(other.get_by_role("heading", level=1)).to_contain_text("ended", timeout=40_000)


def test_a_stranger_gets_the_same_answer_as_for_nothing(page: Page, sign_in: SignIn, site: Site) -> None:
    sign_in()
    name = start_session(page)
    page.context.clear_cookies()
    sign_in("sven")
    theirs = page.goto(f"/sessions/{name}/terminal/")
    nothing = page.goto("/sessions/coi-00000000-1/terminal/")
    assert theirs is not None and nothing is not None
    assert (theirs.status, nothing.status) == (404, 404)


def test_flood_bytes_and_resize(page: Page, sign_in: SignIn) -> None:
    """A flood can be interrupted, bytes that are no text do no harm, and the shell learns the window's size."""
    sign_in()
    start_session(page)
    type_line(page, "yes flooding")
    wait_for_text(page, "flooding")
    page.keyboard.press("Control+c")
    type_line(page, "echo after-$((2 + 3))")
    wait_for_text(page, "after-5")
    type_line(page, "printf '\\377\\376\\200 ok-%s\\n' bytes")
    wait_for_text(page, "ok-bytes")

    page.set_viewport_size({"width": 900, "height": 500})

    def narrow() -> bool:
        type_line(page, "clear; stty size | tr ' ' x")
        sizes = re.findall(r"^(\d+)x(\d+)$", screen(page), re.MULTILINE)
        return any(int(cols) < 120 for _rows, cols in sizes)

    wait_for("a narrower terminal", narrow)
