"""Making the database say what Incus says, and taking away what should be gone.

Called by the agent for every lifecycle event and after every reconnect, and by a worker every 15 s.
Whatever has an active operation is left alone, and so is what changed while Incus was asked: each
correction holds only if the row still is what it was before the question.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from django.conf import settings
from django.db import transaction

from coi_web.audit.actors import SYSTEM
from coi_web.audit.services import record
from coi_web.errors import CoiError, IncusNotFound, IncusUnavailable
from coi_web.incus import IncusApi, get_api
from coi_web.incus.types import InstanceInfo, LifecycleEvent
from sessions.containers import SESSION_KEY, find, is_of, observed_of, remove
from sessions.models import Session, Workspace, WorkspaceState
from sessions.states import LEAVES_NOTHING, Desired, EndReason, Observed, word
from sessions.transitions import advance, set_workspace_state
from sessions.work.steps import lock_session

log = structlog.get_logger(__name__)

#: Events after which a container may be in another state.  Others, such as every exec, cost no look.
_STATE_EVENTS: Final = frozenset(
    f"instance-{what}"
    for what in (
        "created", "started", "stopped", "shutdown", "restarted", "paused", "resumed", "ready",
        "restored", "renamed", "deleted",
    )
)  # fmt: skip
_VOLUME_EVENTS: Final = frozenset({"storage-volume-created", "storage-volume-deleted"})
_LOST = "The container was deleted outside the panel. The workspace's files are still there."


@dataclass(frozen=True, slots=True)
class Report:
    """``strangers`` carry our key but belong to no session that we know: they are left alone."""

    corrected: int = 0
    removed: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()


def reconcile() -> Report:
    """One round over everything.  Raises IncusUnavailable, having changed nothing then.

    Safe to run at any time, several at once.
    """
    incus = get_api()
    sessions = list(Session.objects.filter(ended_at=None).select_related("operation", "workspace"))
    workspaces = list(Workspace.objects.select_related("operation"))
    instances = {info.name: info for info in incus.instances()}
    try:
        volumes = {volume.name for volume in incus.volumes(settings.COI_INCUS_POOL)}
    except IncusNotFound:
        # Without the pool nothing can be said about what is on it.
        volumes = {workspace.volume for workspace in workspaces}
    corrected = sum(_correct(session, instances.get(session.name)) for session in sessions)
    corrected += sum(
        _correct_workspace(workspace, there=workspace.volume in volumes) for workspace in workspaces
    )
    removed, strangers = _sweep(incus, instances.values())
    return Report(corrected, tuple(removed), tuple(strangers))


def concerns_us(event: LifecycleEvent) -> bool:
    return event.action in _STATE_EVENTS or event.action in _VOLUME_EVENTS


def handle_lifecycle_event(event: LifecycleEvent) -> None:
    """Look at the one thing that the event is about.  Raises IncusUnavailable.  Safe to repeat."""
    if event.action in _STATE_EVENTS:
        look_at_session(event.name)
    elif event.action in _VOLUME_EVENTS:
        _look_at_volume(event.name)


def look_at_session(name: str) -> None:
    """Correct the live session of this container name, if there is one.  Raises IncusUnavailable."""
    session = (
        Session.objects.filter(name=name, ended_at=None).select_related("operation", "workspace").first()
    )
    if session is not None and not session.doing:
        _correct(session, find(get_api(), name))


def _look_at_volume(name: str) -> None:
    workspace = Workspace.objects.filter(volume=name).select_related("operation").first()
    if workspace is None:
        return
    try:
        get_api().volume(settings.COI_INCUS_POOL, name)
        there = True
    except IncusNotFound:
        there = False
    _correct_workspace(workspace, there=there)


def _correct(before: Session, info: InstanceInfo | None) -> bool:
    """Write what Incus said about a session that was ``before`` when the question was asked."""
    if before.doing:
        return False
    own = info if info is not None and is_of(info, before) else None
    observed = observed_of(own)
    if observed is Observed.UNKNOWN:
        return False
    shown = word(observed=observed, doing="", doing_begun=False, end_reason="")
    if own is not None and observed == before.observed_state and shown == before.state:
        return False
    with transaction.atomic():
        session = lock_session(str(before.public_id))
        if session is None or not session.is_live or _changed_since(before, session):
            return False
        if own is None:
            _lose(session)
        else:
            _note(session, observed)
    return True


def _changed_since(before: Session, now: Session) -> bool:
    return (
        bool(now.doing)
        or now.operation_id != before.operation_id
        or now.observed_at != before.observed_at
        or now.desired_state != before.desired_state
    )


def _lose(session: Session) -> None:
    """Deleted outside.  Where somebody wanted it gone anyway, that is the end they asked for."""
    wanted = session.desired_state == Desired.GONE
    advance(
        session,
        by=SYSTEM,
        reason="the container is gone",
        desired=Desired.GONE,
        observed=Observed.ABSENT,
        ended=EndReason.ENDED if wanted else EndReason.LOST,
        message=_LOST,
    )
    record("session.lost", actor=SYSTEM, target=session.target, team=session.team)


def _note(session: Session, observed: Observed) -> None:
    seen_before = session.observed_state
    advance(session, by=SYSTEM, reason=f"found {observed} outside the panel", observed=observed)
    if seen_before != observed:
        record(
            "session.changed-outside",
            actor=SYSTEM,
            target=session.target,
            team=session.team,
            data={"before": seen_before, "after": observed.value},
        )


def _correct_workspace(before: Workspace, *, there: bool) -> bool:
    is_lost = before.state == WorkspaceState.LOST
    if there != is_lost or before.state not in (WorkspaceState.READY, WorkspaceState.LOST):
        return False
    to = WorkspaceState.READY if there else WorkspaceState.LOST
    with transaction.atomic():
        workspace = Workspace.objects.select_for_update(no_key=True).filter(pk=before.pk).first()
        if workspace is None or workspace.operation_id != before.operation_id:
            return False
        if not set_workspace_state(workspace, to, expect=(before.state,)):
            return False
        if to == WorkspaceState.LOST:
            record("workspace.lost", actor=SYSTEM, target=workspace.target, team=workspace.team)
    return True


def _sweep(incus: IncusApi, instances: Iterable[InstanceInfo]) -> tuple[list[str], list[str]]:
    """Remove containers of sessions that are over; returns their names, and those of strangers."""
    removed: list[str] = []
    strangers: list[str] = []
    marked = {info.name: info.config[SESSION_KEY] for info in instances if info.config.get(SESSION_KEY)}
    ids = [public_id for key in marked.values() if (public_id := _uuid(key)) is not None]
    known = {
        str(session.public_id): session
        for session in Session.objects.filter(public_id__in=ids).select_related("team")
    }
    for name, key in marked.items():
        session = known.get(key)
        if session is not None and session.name == name and session.is_live:
            continue
        if session is None or session.name != name or session.ended_reason not in LEAVES_NOTHING:
            strangers.append(name)
        elif _remove_leftover(incus, session):
            removed.append(name)
    return removed, strangers


def _remove_leftover(incus: IncusApi, session: Session) -> bool:
    try:
        if not remove(incus, session.name, {SESSION_KEY: str(session.public_id)}):
            return False
    except IncusUnavailable:
        raise
    except CoiError as error:
        log.warning("leftover-stays", container=session.name, code=error.code, detail=error.log_detail)
        return False
    record("session.leftover-removed", actor=SYSTEM, target=session.target, team=session.team)
    return True


def _uuid(key: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(key)
    except ValueError:
        return None
