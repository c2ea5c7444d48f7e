"""What every template draws with: icons, states, times, sizes, fields, empty pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django import template
from django.forms import BoundField, CheckboxInput, RadioSelect, Select
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@dataclass(frozen=True, slots=True)
class Look:
    """One word, one icon, one tone (a class in ``static/css/components.css``)."""

    word: str
    icon: str
    tone: str
    busy: bool = False


LOOKS = {
    # Sessions.
    "queued": Look("queued", "circle-dashed", "quiet"),
    "starting": Look("starting", "loader-2", "busy", busy=True),
    "running": Look("running", "player-play", "good"),
    "waiting": Look("waiting for you", "message-circle", "ask"),
    "frozen": Look("frozen", "snowflake", "cold"),
    "stopping": Look("stopping", "loader-2", "busy", busy=True),
    "stopped": Look("stopped", "player-stop", "quiet"),
    "ending": Look("ending", "loader-2", "busy", busy=True),
    "ended": Look("ended", "square", "quiet"),
    "failed": Look("failed", "alert-triangle", "bad"),
    "lost": Look("lost", "plug-connected-x", "bad"),
    # Operations; queued, running and failed are above.
    "succeeded": Look("done", "check", "good"),
    "cancelled": Look("cancelled", "ban", "quiet"),
    # Checks and outcomes.
    "ok": Look("ok", "check", "good"),
    "refused": Look("refused", "ban", "ask"),
    # Severities.
    "info": Look("info", "info-circle", "cold"),
    "warning": Look("warning", "alert-triangle", "ask"),
    "high": Look("high", "alert-octagon", "bad"),
    "critical": Look("critical", "alert-octagon", "bad"),
}


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """A symbol of the sprite.  Decoration unless ``label`` says what it means."""
    sprite = static("vendor/icons/tabler.svg")
    if label:
        return format_html(
            '<svg class="icon" role="img" aria-label="{}"><use href="{}#{}"></use></svg>', label, sprite, name
        )
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>', sprite, name)


@register.inclusion_tag("components/state.html")
def state_badge(state: object, word: str = "") -> dict[str, Any]:
    """The one way to show a state.  An unknown one is shown as its own word, quietly."""
    key = str(getattr(state, "value", state))
    look = LOOKS.get(key, Look(key.replace("_", " ").replace("-", " "), "circle", "quiet"))
    return {"state": key, "look": look, "word": word or look.word}


def relative(moment: datetime, now: datetime) -> str:
    """Words for how far ``moment`` is from ``now``; the same as ``relative`` in static/js/lib/time.js."""
    seconds = round((moment - now).total_seconds())
    size = abs(seconds)
    if size < 45:
        return "in a moment" if seconds > 5 else "just now"
    units = (("year", 31_536_000), ("month", 2_592_000), ("day", 86_400), ("hour", 3600), ("minute", 60))
    unit, length = next(((unit, length) for unit, length in units if size >= length), units[-1])
    count = max(size // length, 1)
    if count == 1 and unit == "day":
        return "yesterday" if seconds < 0 else "tomorrow"
    if count == 1 and unit in ("month", "year"):
        return f"{'last' if seconds < 0 else 'next'} {unit}"
    words = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{words} ago" if seconds < 0 else f"in {words}"


@register.simple_tag
def ago(moment: datetime | None, missing: str = "never") -> SafeString | str:
    """A time relative to now, kept right by the page, exact on hover."""
    if moment is None:
        return missing
    return _time(moment, relative(moment, timezone.now()), "data-ago")


@register.simple_tag
def since(moment: datetime | None) -> SafeString | str:
    """How long something has been going on, such as ``1:02:03``."""
    if moment is None:
        return ""
    return _time(moment, duration((timezone.now() - moment).total_seconds()), "data-since")


def duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    whole = max(int(seconds), 0)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@register.simple_tag
def took(begin: datetime | None, end: datetime | None) -> str:
    """The time between two moments, empty unless both are known."""
    if begin is None or end is None:
        return ""
    seconds = max((end - begin).total_seconds(), 0)
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def _time(moment: datetime, text: str, kind: str) -> SafeString:
    utc = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC" data-utc {}>{}</time>',
        utc.isoformat(timespec="seconds"),
        utc.strftime("%Y-%m-%d %H:%M:%S"),
        SafeString(kind),
        text,
    )


@register.simple_tag
def filesize(count: int | None, missing: str = "unknown") -> SafeString | str:
    """Bytes in binary units, the exact number on hover."""
    if count is None:
        return missing
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    text = f"{size:.0f}" if size >= 100 or size == int(size) else f"{size:.1f}"
    return format_html('<span title="{} bytes">{} {}</span>', f"{count:,}", text, unit)


@register.inclusion_tag("components/field.html")
def field(
    bound: BoundField, label: str = "", autofocus: bool = False, mark_optional: bool = True
) -> dict[str, Any]:
    """A form field with its label, help and errors."""
    widget = bound.field.widget
    kind = "input"
    attrs: dict[str, Any] = {"class": "form-control"}
    if isinstance(widget, CheckboxInput):
        kind, attrs = "checkbox", {"class": "form-check-input"}
    elif isinstance(widget, RadioSelect):
        kind, attrs = "radio", {}
    elif isinstance(widget, Select):
        attrs = {"class": "form-select"}
    if bound.errors and kind != "radio":
        attrs["class"] += " is-invalid"
        attrs["aria-describedby"] = f"{bound.auto_id}_errors"
    if autofocus:
        attrs["autofocus"] = True
    widget.attrs.pop("placeholder", None)
    return {
        "field": bound,
        "kind": kind,
        "label": label or bound.label,
        "control": bound.as_widget(attrs=attrs),
        "optional": mark_optional and not bound.field.required,
    }


@register.inclusion_tag("components/empty.html")
def empty_state(
    icon: str, title: str, text: str = "", url: str = "", button: str = "", command: str = ""
) -> dict[str, str]:
    """One sentence, one button, the equal ``coi`` command."""
    return {"icon": icon, "title": title, "text": text, "url": url, "button": button, "command": command}


@register.inclusion_tag("components/command.html")
def command(text: str, title: str = "The same with coi") -> dict[str, str]:
    """A command line that can be copied."""
    return {"text": text, "title": title}
