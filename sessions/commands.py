"""The ``coi`` command that does the same as a button; for people who know COI and those who will."""

from __future__ import annotations

from sessions.models import Session
from sessions.states import Action, Mode


def start_command(slug: str, *, profile: str, mode: str, slot: int | None) -> str:
    """``coi shell`` takes the mode and the workspace's name from its configuration, shown as a comment."""
    persistent = "true" if mode == Mode.PERSISTENT else "false"
    command = f"coi shell --profile {profile}" + (f" --slot {slot}" if slot else "")
    return f'{command}  # [container] session_name = "{slug}", persistent = {persistent}'


def action_command(action: str, session: Session) -> str:
    """The equal command for what can be done to a session."""
    name = session.name
    if action == Action.END and session.mode == Mode.PERSISTENT:
        return f"coi container stop {name}"
    return {
        Action.ATTACH: f"coi attach {name}",
        Action.START_AGAIN: f"coi container start {name}",
        Action.STOP: f"coi container stop {name}",
        Action.END: f"coi shutdown {name}",
        Action.KILL: f"coi kill {name}",
    }[Action(action)]
