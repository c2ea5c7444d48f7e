"""What the end of an operation means for its session or workspace.

Each runs in the transaction that ends the operation, whatever the end is, and never talks to Incus.
What the container was seen as last is in the operation's result, or was written on the way.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from coi_web.audit.actors import Actor
from coi_web.audit.models import AuditEvent
from coi_web.audit.services import Target, record
from coi_web.operations.models import Operation
from coi_web.operations.services import create_operation
from sessions.models import Session, Workspace, WorkspaceState
from sessions.states import Desired, EndReason, Observed
from sessions.transitions import advance, announce_workspace
from sessions.work.steps import actor_of, lock_session

_GONE_OUTSIDE = "The container was deleted outside the panel. The workspace's files are still there."
_KILLED = "Killed. The workspace's files are still there."


def started(operation: Operation) -> None:
    session = _live(operation)
    if session is None:
        return
    if operation.state == Operation.State.SUCCEEDED:
        _advance(session, operation, "started", observed=Observed.RUNNING, started_at=timezone.now())
        _follow_up(session, operation)
        return
    if operation.state == Operation.State.CANCELLED:
        killed = session.kill_requested_at is not None
        reason = EndReason.KILLED if killed else EndReason.CANCELLED
        message = _KILLED if killed else "Cancelled before it ran."
    else:
        taken = operation.error_code == "name-taken"
        reason = EndReason.NAME_TAKEN if taken else EndReason.START_FAILED
        message = operation.error_message
    _advance(
        session, operation, message, desired=Desired.GONE, observed=Observed.ABSENT, ended=reason,
        message=message,
    )  # fmt: skip
    _record_failure(operation, session)


def started_again(operation: Operation) -> None:
    session = _live(operation)
    if session is None:
        return
    if operation.state == Operation.State.SUCCEEDED:
        _advance(session, operation, "started again", observed=Observed.RUNNING, started_at=timezone.now())
    elif operation.error_code == "container-gone":
        _lose(session, operation)
    else:
        _advance(session, operation, _why(operation), desired=_kept(session, Desired.STOPPED))
    _follow_up(session, operation)
    _record_failure(operation, session)


def stopped(operation: Operation) -> None:
    session = _live(operation)
    if session is None:
        return
    if operation.state != Operation.State.SUCCEEDED:
        _advance(session, operation, _why(operation), desired=_kept(session, _as_seen(session)))
    elif operation.result.get("seen") == Observed.ABSENT:
        _lose(session, operation)
    else:
        _advance(session, operation, "stopped", observed=Observed.STOPPED)
    _follow_up(session, operation)
    _record_failure(operation, session)


def ended(operation: Operation) -> None:
    session = _live(operation)
    if session is None:
        return
    if operation.state == Operation.State.SUCCEEDED and operation.result.get("seen") == Observed.ABSENT:
        message = "Ended. The workspace's files are still there."
        _advance(
            session, operation, "ended", desired=Desired.GONE, observed=Observed.ABSENT,
            ended=EndReason.ENDED, message=message,
        )  # fmt: skip
        return
    stopped(operation)


def killed(operation: Operation) -> None:
    session = _live(operation)
    if session is None:
        return
    if operation.state == Operation.State.SUCCEEDED:
        _advance(
            session, operation, "killed", observed=Observed.ABSENT, ended=EndReason.KILLED, message=_KILLED
        )
        return
    _advance(session, operation, _why(operation), desired=_as_seen(session), kill_requested_at=None)
    _record_failure(operation, session)


def workspace_created(operation: Operation) -> None:
    workspace = _workspace(operation)
    if workspace is None or workspace.state != WorkspaceState.CREATING:
        return
    if operation.state == Operation.State.SUCCEEDED:
        _set(workspace, WorkspaceState.READY)
        return
    in_use = Session.objects.filter(workspace=workspace, ended_at=None).exists()
    if operation.state == Operation.State.CANCELLED and operation.attempts <= 1 and not in_use:
        # A first run undoes what it made; after a crash something may be left, which deleting finds.
        workspace.delete()
        announce_workspace(workspace)
        return
    _set(workspace, WorkspaceState.FAILED)
    _record_failure(operation, workspace)


def workspace_deleted(operation: Operation) -> None:
    workspace = _workspace(operation)
    if workspace is None:
        return
    if operation.state == Operation.State.SUCCEEDED:
        workspace.delete()
        announce_workspace(workspace)
        return
    _set(workspace, WorkspaceState.FAILED)
    _record_failure(operation, workspace)


def _follow_up(session: Session, operation: Operation) -> None:
    """The kill that was asked for while this operation was under way."""
    if not session.is_live or session.kill_requested_at is None:
        return
    by = session.kill_requested_by
    actor = Actor.of(by, request_id=operation.request_id) if by is not None else actor_of(operation)
    kill, _ = create_operation(
        actor=actor, kind="session.kill", target=session.target, owner=session.owner, team=session.team
    )
    advance(session, by=actor, reason="killed as asked", desired=Desired.GONE, operation=kill)


def _live(operation: Operation) -> Session | None:
    session = lock_session(operation.target_id)
    return session if session is not None and session.is_live else None


def _workspace(operation: Operation) -> Workspace | None:
    return Workspace.objects.select_for_update(no_key=True).filter(public_id=operation.target_id).first()


def _advance(session: Session, operation: Operation, reason: str, **changes: Any) -> None:
    advance(session, by=actor_of(operation), reason=reason, operation=operation, **changes)


def _lose(session: Session, operation: Operation) -> None:
    _advance(
        session, operation, "the container is gone", desired=Desired.GONE, observed=Observed.ABSENT,
        ended=EndReason.LOST, message=_GONE_OUTSIDE,
    )  # fmt: skip


def _as_seen(session: Session) -> Desired:
    stays = (Observed.STOPPED, Observed.ABSENT)
    return Desired.STOPPED if session.observed_state in stays else Desired.RUNNING


def _kept(session: Session, desired: Desired) -> Desired:
    """What a kill that was asked for meanwhile wants goes first."""
    return Desired.GONE if session.kill_requested_at is not None else desired


def _why(operation: Operation) -> str:
    return "cancelled" if operation.state == Operation.State.CANCELLED else operation.error_message


def _set(workspace: Workspace, state: str) -> None:
    workspace.state = state
    workspace.save(update_fields=["state"])
    announce_workspace(workspace)


def _record_failure(operation: Operation, subject: Session | Workspace) -> None:
    """Cancelling was recorded when it was asked for."""
    if operation.state != Operation.State.FAILED:
        return
    target: Target = subject.target
    record(
        operation.kind,
        actor=actor_of(operation),
        target=target,
        team=subject.team,
        outcome=AuditEvent.Outcome.FAILED,
        data={"code": operation.error_code, "operation": str(operation.public_id)},
    )
