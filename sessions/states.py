"""The states of a session: wanted, seen, and doing are three things; a page shows one word for them.

Pure: no database, no engine.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """The one word that is shown, stored beside the three for filters and counts."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    FROZEN = "frozen"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ENDED = "ended"
    FAILED = "failed"
    LOST = "lost"


class Desired(StrEnum):
    """What the person asked for last."""

    RUNNING = "running"
    STOPPED = "stopped"
    GONE = "gone"


class Observed(StrEnum):
    """What Incus said last; ``absent`` when it has no such container."""

    ABSENT = "absent"
    RUNNING = "running"
    STOPPED = "stopped"
    FROZEN = "frozen"
    STARTING = "starting"
    STOPPING = "stopping"
    ERROR = "error"
    UNKNOWN = "unknown"


class EndReason(StrEnum):
    """Why a session is over; empty while it lives."""

    ENDED = "ended"
    KILLED = "killed"
    CANCELLED = "cancelled"
    START_FAILED = "start-failed"
    #: A container of that name existed and was not ours; the next start prefers another slot.
    NAME_TAKEN = "name-taken"
    LOST = "lost"


class Mode(StrEnum):
    """COI's words: an ephemeral container is deleted when the session ends, a persistent one kept."""

    EPHEMERAL = "ephemeral"
    PERSISTENT = "persistent"


class Action(StrEnum):
    """What a person can do to a session; the operations are named ``session.<action>``."""

    START = "start"
    START_AGAIN = "start-again"
    STOP = "stop"
    END = "end"
    KILL = "kill"
    ATTACH = "attach"


LIVE: Final = frozenset(
    {State.QUEUED, State.STARTING, State.RUNNING, State.FROZEN, State.STOPPING, State.STOPPED, State.FAILED}
)
#: Words for "over".  FAILED is both: a start that failed is over, a container in Incus' error state is not.
OVER: Final = frozenset({State.ENDED, State.FAILED, State.LOST})

#: Ends after which no container should be left; one that is there all the same is deleted.
LEAVES_NOTHING: Final = frozenset(
    {EndReason.ENDED, EndReason.KILLED, EndReason.CANCELLED, EndReason.START_FAILED}
)

_OVER_WORD: Final = {
    EndReason.ENDED: State.ENDED,
    EndReason.KILLED: State.ENDED,
    EndReason.CANCELLED: State.ENDED,
    EndReason.START_FAILED: State.FAILED,
    EndReason.NAME_TAKEN: State.FAILED,
    EndReason.LOST: State.LOST,
}
_IDLE_WORD: Final = {
    Observed.ABSENT: State.LOST,
    Observed.RUNNING: State.RUNNING,
    Observed.STOPPED: State.STOPPED,
    Observed.FROZEN: State.FROZEN,
    Observed.STARTING: State.STARTING,
    Observed.STOPPING: State.STOPPING,
    Observed.ERROR: State.FAILED,
    Observed.UNKNOWN: State.FAILED,
}
_ALLOWED: Final[dict[State, frozenset[Action]]] = {
    State.QUEUED: frozenset({Action.KILL}),
    State.STARTING: frozenset({Action.KILL}),
    State.RUNNING: frozenset({Action.STOP, Action.END, Action.KILL, Action.ATTACH}),
    State.FROZEN: frozenset({Action.STOP, Action.END, Action.KILL}),
    State.STOPPING: frozenset({Action.KILL}),
    State.STOPPED: frozenset({Action.START_AGAIN, Action.KILL}),
    State.ENDED: frozenset(),
    State.FAILED: frozenset({Action.KILL}),
    State.LOST: frozenset(),
}


def word(*, observed: str, doing: str, doing_begun: bool, end_reason: str) -> State:
    """The word for a session.

    ``doing`` is the action of its active operation ("" for none), ``doing_begun`` whether a worker has
    it.  What somebody does is shown before what was seen, and the end before both.
    """
    if end_reason:
        return _OVER_WORD[EndReason(end_reason)]
    if doing in (Action.START, Action.START_AGAIN):
        return State.STARTING if doing_begun else State.QUEUED
    if doing:
        return State.STOPPING
    return _IDLE_WORD[Observed(observed)]


def allowed_actions(state: str, mode: str, *, is_live: bool = True) -> frozenset[Action]:
    """What the state allows, whoever asks.  A stopped ephemeral session can also be ended."""
    if not is_live:
        return frozenset()
    actions = _ALLOWED[State(state)]
    if state == State.STOPPED and mode == Mode.EPHEMERAL:
        actions |= {Action.END}
    return actions
