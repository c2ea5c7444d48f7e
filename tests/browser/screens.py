"""Reading and typing in a terminal as a person does."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.support.panel import wait_for


def screen(page: Page) -> str:
    """What xterm.js tells a screen reader: the lines that are visible."""
    lines = page.locator(".xterm-accessibility-tree > div").all_inner_texts()
    return "\n".join(line.replace("\xa0", " ").rstrip() for line in lines)


def wait_for_text(page: Page, text: str, *, timeout_s: float = 20) -> str:
    """Until ``text`` is on the screen; returns the screen."""

    def seen() -> str:
        now = screen(page)
        return now if text in now else ""

    try:
        return wait_for(f"“{text}” on the screen", seen, timeout_s=timeout_s)
    except AssertionError:
        raise AssertionError(f"no “{text}” on the screen, but:\n{screen(page)}") from None


def wait_for_prompt(page: Page) -> None:
    page.locator("#terminal-page[data-link=open]").wait_for()
    wait_for_text(page, "$")


def type_line(page: Page, line: str) -> None:
    page.locator(".xterm-helper-textarea").focus()
    page.keyboard.type(line)
    page.keyboard.press("Enter")
