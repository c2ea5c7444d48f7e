"""Stopping, ending and killing sessions."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from coi_web.errors import (
    Conflict,
    IncusConflict,
    IncusNotFound,
    IncusRejected,
    IncusTimedOut,
    InstanceFrozen,
)
from coi_web.incus.types import InstanceStatus
from coi_web.operations.runner import OperationContext
from sessions.containers import SESSION_KEY, find_own, force_stop, observed_of, remove
from sessions.models import Session
from sessions.states import Mode, Observed
from sessions.work.steps import see, session_of, watched

#: COI's ``shutdown_timeout``: how long a container may take before it is stopped by force.
SHUTDOWN_GRACE_S: Final = 60.0


def stop(context: OperationContext) -> dict[str, Any]:
    """Shut down, by force when it takes longer than a minute; the container stays."""
    session = session_of(context)
    seen = _shut_down(context, session)
    return {"seen": seen.value}


def end(context: OperationContext) -> dict[str, Any]:
    """As stop, and then an ephemeral container is deleted."""
    session = session_of(context)
    seen = _shut_down(context, session)
    if session.mode == Mode.EPHEMERAL:
        context.progress("delete", 80, "Deleting the container")
        _delete(context, session)
        seen = Observed.ABSENT
    return {"seen": seen.value}


def kill(context: OperationContext) -> dict[str, Any]:
    """Stop at once and delete."""
    session = session_of(context)
    info = find_own(context.incus, session)
    if info is not None and info.status is not InstanceStatus.STOPPED:
        context.progress("kill", 20, "Stopping the container by force")
        _force(context, session)
        see(context, session, observed_of(find_own(context.incus, session)))
    context.progress("delete", 60, "Deleting the container")
    _delete(context, session)
    return {"seen": Observed.ABSENT.value}


def _delete(context: OperationContext, session: Session) -> None:
    remove(context.incus, session.name, {SESSION_KEY: str(session.public_id)})
    see(context, session, Observed.ABSENT)


def _shut_down(context: OperationContext, session: Session) -> Observed:
    """What the container is afterwards: stopped, or absent where somebody deleted it."""
    info = find_own(context.incus, session)
    if info is not None and info.status is InstanceStatus.RUNNING:
        context.progress("shutdown", 10, "Asking the container to shut down")
        _ask(context, session)
        info = find_own(context.incus, session)
    if info is not None and info.status is not InstanceStatus.STOPPED:
        # What was frozen, by an alert perhaps, must not run again only to shut down.
        context.progress("force", 70, "Stopping the container by force")
        _force(context, session)
        info = find_own(context.incus, session)
    seen = observed_of(info)
    if seen not in (Observed.STOPPED, Observed.ABSENT):
        raise Conflict(
            f"{session.name} is {seen} again. Somebody started it meanwhile; try again.", code="keeps-running"
        )
    see(context, session, seen)
    return seen


def _force(context: OperationContext, session: Session) -> None:
    """What is gone meanwhile is stopped, too."""
    with suppress(IncusNotFound):
        force_stop(context.incus, session.name)


def _ask(context: OperationContext, session: Session) -> None:
    """Returns when the init obeyed or will not; whether it did is the caller's to look at."""

    def call() -> None:
        try:
            context.incus.stop_instance(session.name, timeout_s=SHUTDOWN_GRACE_S)
        except (IncusTimedOut, IncusRejected, IncusConflict, IncusNotFound, InstanceFrozen):
            return

    def tick(passed_s: float) -> None:
        share = min(passed_s / SHUTDOWN_GRACE_S, 1.0)
        context.progress(
            "shutdown", 10 + int(60 * share), f"Shutting down ({passed_s:.0f} of {SHUTDOWN_GRACE_S:.0f} s)"
        )

    watched(context, call, tick)
