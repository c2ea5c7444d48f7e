"""What browsers are given: strict enough for the Content-Security-Policy, complete, and small."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "static"
TEMPLATES = sorted(
    path
    for app in ("coi_web", "sessions", "monitoring")
    for path in (ROOT / app).rglob("templates/**/*.html")
)
SPRITE = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "vendor/icons/tabler.svg").read_text()))

#: The first page without the terminal, compressed, in bytes (the interface guide's 150 KB).
FIRST_PAGE_BYTES = 150_000
_IMPORT = re.compile(r'^(?:import|export)\b[^;()]*?\bfrom "(\.{1,2}/[^"]+)"', re.MULTILINE)


@pytest.fixture(params=TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def template(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text()


def test_nothing_inline(template: str) -> None:
    assert not re.search(r"\sstyle\s*=", template), "style attributes are refused by the policy"
    assert not re.search(r"\son[a-z]+\s*=", template), "event attributes are refused by the policy"
    assert "<style" not in template
    for attributes, body in re.findall(r"<script\b([^>]*)>(.*?)</script>", template, re.DOTALL):
        assert "src=" in attributes or "application/json" in attributes, body[:80]
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", template), "nothing comes from elsewhere"


def test_icons_exist(template: str) -> None:
    used = re.findall(r'\{% icon "([^"]+)"', template) + re.findall(r'empty_state icon="([^"]+)"', template)
    assert set(used) <= SPRITE


def test_static_files_exist(template: str) -> None:
    for name in re.findall(r"\{% static ['\"]([^'\"]+)['\"] %\}", template):
        assert (STATIC / name).is_file(), name


def _with_imports(module: Path, seen: set[Path]) -> set[Path]:
    if module not in seen:
        seen.add(module)
        for name in _IMPORT.findall(module.read_text()):
            _with_imports((module.parent / name).resolve(), seen)
    return seen


def test_every_page_names_all_modules_beforehand() -> None:
    """Otherwise the browser learns of them one after the other, a round trip each."""
    preload = (ROOT / "coi_web/templates/components/preload.html").read_text()
    named = set(re.findall(r"static 'js/([^']+)'", preload))
    needed = {str(path.relative_to(STATIC / "js")) for path in _with_imports(STATIC / "js/main.js", set())}
    assert named == needed


def test_first_page_is_small() -> None:
    files = [STATIC / "vendor/tabler/tabler.css", *(STATIC / "css").glob("*.css")]
    files += [
        STATIC / "vendor/htmx/htmx.js",
        STATIC / "vendor/htmx/idiomorph.js",
        STATIC / "js/theme-early.js",
    ]
    files += [STATIC / "vendor/icons/tabler.svg", STATIC / "img/icon.svg"]
    files += _with_imports(STATIC / "js/main.js", set())
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in files}
    # 8 KB are for the page itself.
    assert sum(sizes.values()) + 8_000 < FIRST_PAGE_BYTES, sizes
