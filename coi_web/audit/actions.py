"""What can be recorded, each with the sentence that the audit page shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    code: str
    #: What the actor did, completed by the target's name where there is one: "started {target}".
    phrase: str


_registry: dict[str, Action] = {}


def register_action(code: str, phrase: str) -> None:
    """Make ``code`` known; called from ``AppConfig.ready``.  Registering the same again is fine.

    Raises ValueError where the code is taken by another phrase.
    """
    action = Action(code, phrase)
    if _registry.setdefault(code, action) != action:
        raise ValueError(f"audit action {code} is registered twice")


def known_actions() -> list[Action]:
    return sorted(_registry.values(), key=lambda action: action.code)


def is_known(code: str) -> bool:
    return code in _registry


def sentence(code: str, *, actor: str, target: str, outcome: str) -> str:
    """ "ana started coi-eb88b3db-1"; refusals and failures say so.  Plain text: escape it for HTML."""
    action = _registry.get(code)
    phrase = action.phrase.replace("{target}", target) if action else f"{code} {target}"
    if outcome == "refused":
        return f"{actor} was refused: {phrase}"
    if outcome == "failed":
        return f"{actor} failed: {phrase}"
    return f"{actor} {phrase}"
