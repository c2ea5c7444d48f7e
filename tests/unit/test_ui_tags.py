"""The words, icons and numbers that templates draw with."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coi_web.operations.models import Operation
from coi_web.templatetags.ui import LOOKS, duration, filesize, icon, relative, state_badge, took
from sessions.states import State

ROOT = Path(__file__).resolve().parents[2]
SPRITE = (ROOT / "static/vendor/icons/tabler.svg").read_text()
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECONDS = (
    0,
    3,
    30,
    44,
    45,
    59,
    60,
    90,
    3599,
    3600,
    7199,
    86_399,
    86_400,
    172_800,
    2_592_000,
    40_000_000,
    90_000_000,
)


@pytest.mark.parametrize("state", [*State, *Operation.State])
def test_every_state_has_its_own_look(state: object) -> None:
    assert str(state) in LOOKS


@pytest.mark.parametrize("key", LOOKS)
def test_icons_of_states_are_in_the_sprite(key: str) -> None:
    assert f'<symbol id="{LOOKS[key].icon}"' in SPRITE


def test_an_unknown_state_is_shown_as_its_word() -> None:
    assert state_badge("half-open")["word"] == "half open"


def test_relative_times_are_those_of_the_page() -> None:
    """Python writes them first, static/js/lib/time.js keeps them: no text may change under the reader."""
    offsets = [sign * seconds for seconds in SECONDS for sign in (1, -1)]
    script = (
        "import { relative } from './static/js/lib/time.js';"
        f"const now = {NOW.timestamp() * 1000};"
        f"console.log(JSON.stringify({json.dumps(offsets)}.map((s) => relative(now + s * 1000, now))));"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    ours = [relative(NOW + timedelta(seconds=offset), NOW) for offset in offsets]
    assert dict(zip(offsets, ours, strict=True)) == dict(zip(offsets, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("seconds", "text"), [(7, "0:07"), (750, "12:30"), (3723, "1:02:03"), (-5, "0:00")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_took() -> None:
    assert took(NOW, NOW + timedelta(seconds=4.25)) == "4.2 s"
    assert took(NOW, NOW + timedelta(minutes=2)) == "2:00"
    assert took(None, NOW) == took(NOW, None) == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (10 * 1024**3, "10 GiB"), (5 * 1024**5, "5120 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert f">{text}<" in filesize(count)
    assert f'title="{count:,} bytes"' in filesize(count)


def test_missing_size() -> None:
    assert filesize(None) == "unknown"


def test_icon_names_are_escaped() -> None:
    assert '"><' not in icon('x"><script>').replace('"></use>', "").replace('"><use', "")
