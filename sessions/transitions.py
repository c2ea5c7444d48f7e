"""The only writer of a session's and a workspace's state: conditional, recorded, announced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from coi_web.audit.actors import Actor
from coi_web.errors import Conflict
from coi_web.live import (
    ADMINISTRATORS,
    AUDITORS,
    LiveEvent,
    object_group,
    publish_on_commit,
    team_group,
    user_group,
)
from sessions.models import Session, SessionTransition, Workspace
from sessions.states import Desired, EndReason, Observed, word

if TYPE_CHECKING:
    from coi_web.operations.models import Operation


def advance(
    session: Session,
    *,
    by: Actor,
    reason: str,
    desired: Desired | None = None,
    observed: Observed | None = None,
    operation: Operation | None = None,
    ended: EndReason | None = None,
    message: str = "",
    **fields: Any,
) -> None:
    """Write what is given and the word that follows from it; call it inside a transaction.

    Only a live session that nobody changed since it was read is written, else Conflict
    (``changed-meanwhile``).  A change of the word becomes a SessionTransition and a hint.  ``session``
    is brought up to date.  ``message`` says to the person why the session is over.
    """
    now = timezone.now()
    changes = dict(fields)
    if desired is not None:
        changes["desired_state"] = desired.value
    if observed is not None:
        changes |= {"observed_state": observed.value, "observed_at": now}
    if operation is not None:
        changes["operation"] = operation
    if ended is not None:
        changes |= {"ended_at": now, "ended_reason": ended.value, "ended_message": message[:500]}
    doing = operation if operation is not None else session.operation
    begun = doing is not None and doing.attempts > 0
    after = word(
        observed=changes.get("observed_state", session.observed_state),
        doing="" if doing is None or not doing.is_active else doing.kind.removeprefix("session."),
        doing_begun=begun,
        end_reason=changes.get("ended_reason", session.ended_reason),
    )
    won = Session.objects.filter(
        pk=session.pk,
        ended_at=None,
        desired_state=session.desired_state,
        observed_state=session.observed_state,
    ).update(**changes, state=after.value)
    if not won:
        raise Conflict(
            f"{session.name} changed a moment ago. Look again.",
            code="changed-meanwhile",
            log_detail=f"expected {session.desired_state}/{session.observed_state}",
        )
    before = session.state
    for name, value in {**changes, "state": after.value}.items():
        setattr(session, name, value)
    if before != after:
        note_transition(session, before=before, reason=reason, by=by)


def note_transition(session: Session, *, before: str, reason: str, by: Actor) -> None:
    """The row and the hints of a word that has changed; ``before`` is "" for a new session."""
    SessionTransition.objects.create(
        session=session,
        from_state=before,
        to_state=session.state,
        reason=reason[:200],
        by_name=by.name[:150],
    )
    announce_session(session)


def announce_session(session: Session) -> None:
    """To everybody who sees it, and to its open terminals."""
    extra = {"name": session.name, "state": str(session.state)}
    public_id = str(session.public_id)
    publish_on_commit(
        _groups(session.owner_id, session.team_id), LiveEvent("session.changed", public_id, extra)
    )
    publish_on_commit(
        [object_group("session", public_id)], LiveEvent(f"session.{session.state}", public_id, extra)
    )


def set_workspace_state(workspace: Workspace, state: str, *, expect: tuple[str, ...]) -> bool:
    """True where the workspace was in one of ``expect``; hints at the change."""
    with transaction.atomic():
        won = Workspace.objects.filter(pk=workspace.pk, state__in=expect).update(state=state)
        if won:
            workspace.state = state
            announce_workspace(workspace)
    return bool(won)


def announce_workspace(workspace: Workspace) -> None:
    extra = {"slug": workspace.slug, "state": str(workspace.state)}
    publish_on_commit(
        _groups(workspace.owner_id, workspace.team_id),
        LiveEvent("workspace.changed", str(workspace.public_id), extra),
    )


def _groups(owner_id: int, team_id: int | None) -> list[str]:
    groups = [ADMINISTRATORS, AUDITORS, user_group(owner_id)]
    return groups if team_id is None else [*groups, team_group(team_id)]
