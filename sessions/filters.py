"""The filter of the sessions list: ``owner:me state:running mode:ephemeral shop``.

The same text is in the address, so a view can be sent to a colleague.  Pure but for ``Q``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db.models import Q

from coi_web.accounts.models import User
from sessions.states import Mode, State

#: Longer queries are cut: nobody types them.
MAX_CHARS: Final = 200

KEYS: Final = ("owner", "state", "mode", "profile", "workspace", "team", "is")

#: Chips above the list.
PRESETS: Final[tuple[tuple[str, str], ...]] = (
    ("", "Live"),
    ("owner:me", "Mine"),
    ("state:running", "Running"),
    ("state:stopped", "Stopped"),
    ("state:failed", "Failed"),
    ("is:over", "Over"),
    ("is:any", "All"),
)


@dataclass(frozen=True, slots=True)
class Filter:
    """``problems`` are sentences about parts that were not understood and left out."""

    condition: Q
    problems: tuple[str, ...]


def parse(text: str, user: User) -> Filter:
    """What to show for ``text``.  Ended sessions are left out unless asked for."""
    condition = Q()
    problems: list[str] = []
    shows_over = False
    for term in text[:MAX_CHARS].split():
        key, colon, value = term.partition(":")
        if not colon or not value:
            condition &= _anywhere(term)
        elif key not in KEYS:
            problems.append(f"There is no filter “{key}:”. Known ones: {', '.join(KEYS)}.")
        else:
            part, problem = _known(key, value, user)
            if problem:
                problems.append(problem)
            else:
                condition &= part
                shows_over = shows_over or key == "is" or value in (State.ENDED, State.LOST, State.FAILED)
    if not shows_over:
        condition &= Q(ended_at=None)
    return Filter(condition, tuple(problems))


def _known(key: str, value: str, user: User) -> tuple[Q, str]:
    if key == "owner":
        return Q(owner_name=user.username if value == "me" else value), ""
    if key == "state":
        if value not in list(State):
            return Q(), f"There is no state “{value}”. Known ones: {', '.join(State)}."
        return Q(state=value), ""
    if key == "mode":
        if value not in list(Mode):
            return Q(), "A mode is ephemeral or persistent."
        return Q(mode=value), ""
    if key == "profile":
        return Q(profile_name=value), ""
    if key == "workspace":
        return Q(workspace_slug__icontains=value), ""
    if key == "team":
        return Q(team__slug=value), ""
    conditions = {"live": Q(ended_at=None), "over": Q(ended_at__isnull=False), "any": Q()}
    if value not in conditions:
        return Q(), f"“is:” takes {', '.join(conditions)}."
    return conditions[value], ""


def _anywhere(text: str) -> Q:
    return Q(name__icontains=text) | Q(workspace_slug__icontains=text) | Q(owner_name__icontains=text)
