"""What people do to sessions: start, start again, stop, end, kill.

Stop keeps the container.  End shuts it down, then deletes an ephemeral one and keeps a persistent one
stopped.  Kill stops it at once and deletes it.  Workspace files stay in every case.
"""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from coi_web.accounts.access import require_user
from coi_web.accounts.models import User
from coi_web.audit.actors import Actor
from coi_web.audit.services import record, refusals_recorded
from coi_web.errors import Conflict, InvalidInput, NotFound, QuotaExceeded
from coi_web.operations.models import Operation
from coi_web.operations.services import (
    active_operation,
    cancel_operation,
    create_operation,
    lock_active_operation,
)
from sessions.access import SessionRight, get_session_for, get_workspace_for
from sessions.models import Session, Workspace, WorkspaceState
from sessions.names import SLOTS, container_name
from sessions.profiles import Profile, profile_named
from sessions.queries import live_sessions_count
from sessions.states import Action, Desired, EndReason, Mode, State, allowed_actions
from sessions.transitions import advance, note_transition

_RIGHT: dict[Action, SessionRight] = {
    Action.START_AGAIN: "own",
    Action.STOP: "operate",
    Action.END: "operate",
    Action.KILL: "operate",
}


def start_session(
    *,
    actor: Actor,
    workspace: Workspace,
    mode: str = Mode.EPHEMERAL,
    profile: str = "default",
    slot: int | None = None,
    once: str = "",
) -> tuple[Session, Operation]:
    """A new session in the lowest free slot of the workspace, or in ``slot``.

    ``once`` makes it safe to repeat: the same text again returns the same session.
    Raises InvalidInput, NotFound, Forbidden, Conflict (``no-free-slot``, ``slot-in-use``) and
    QuotaExceeded; any number of simultaneous calls stay within the cap and never share a slot.
    """
    user = require_user(actor)
    with refusals_recorded("session.start", actor=actor, target=workspace.target, team=workspace.team):
        chosen = _check_start(mode, profile, slot, once)
        get_workspace_for(actor, str(workspace.public_id), to="use")
        with transaction.atomic():
            # The owner's row is the lock for the cap, the workspace's for its slots.  "no_key", here and
            # everywhere: a full lock on PostgreSQL meets the foreign keys of rows that others insert.
            User.objects.select_for_update(no_key=True).get(pk=user.pk)
            if once and (again := Session.objects.filter(owner=user, once=once).first()):
                return again, _operation_of(again)
            locked = Workspace.objects.select_for_update(no_key=True).filter(pk=workspace.pk).first()
            if locked is None:
                raise NotFound("There is no such workspace, or you cannot see it.", code="no-such-workspace")
            _check_usable(locked)
            _check_cap(user)
            session = _insert(user, locked, chosen, mode, _free_slot(locked, slot), once)
            operation, _ = create_operation(
                actor=actor, kind="session.start", target=session.target, owner=user, team=session.team
            )
            session.operation = operation
            session.save(update_fields=["operation"])
            note_transition(session, before="", reason="asked for", by=actor)
            record(
                "session.start", actor=actor, target=session.target, team=session.team,
                data={"workspace": locked.slug, "mode": mode, "profile": chosen.name, "image": chosen.image},
            )  # fmt: skip
    return session, operation


def restart_session(*, actor: Actor, session: Session) -> Operation:
    """Start a stopped session again, in its container.  Asked twice, it is one operation."""
    return perform(Action.START_AGAIN, actor=actor, session=session)


def stop_session(*, actor: Actor, session: Session) -> Operation:
    """Shut the container down and keep it.  A frozen one is stopped without being thawed."""
    return perform(Action.STOP, actor=actor, session=session)


def end_session(*, actor: Actor, session: Session) -> Operation:
    """Shut the container down; an ephemeral one is then deleted, a persistent one kept stopped."""
    return perform(Action.END, actor=actor, session=session)


def kill_session(*, actor: Actor, session: Session) -> Operation:
    """Stop the container at once and delete it, whatever is under way; workspace files stay.

    Work under way is cancelled first and returned; the kill follows when that has settled.
    """
    return perform(Action.KILL, actor=actor, session=session)


def perform(action: str, *, actor: Actor, session: Session) -> Operation:
    """Any of ``start-again``, ``stop``, ``end``, ``kill``; returns the operation to watch.

    Raises InvalidInput for another word, NotFound, Forbidden, and Conflict where the session's state
    does not allow it (``bad-state``) or something else is under way (``busy``).
    """
    if action not in _RIGHT:
        raise InvalidInput("This cannot be done to a session.", code="unknown-action")
    wanted = Action(action)
    with refusals_recorded(f"session.{wanted}", actor=actor, target=session.target, team=session.team):
        get_session_for(actor, str(session.public_id), to=_RIGHT[wanted])
        with transaction.atomic():
            lock_active_operation(session.target)
            # "of" leaves the joined rows unlocked; SQLite, where the transaction is the lock, ignores it.
            locked = (
                Session.objects.select_for_update(of=("self",), no_key=True)
                .select_related("operation", "owner", "team", "workspace")
                .get(pk=session.pk)
            )
            operation = _kill(actor, locked) if wanted is Action.KILL else _begin(actor, locked, wanted)
    if wanted is Action.KILL:
        return _operation_of(Session.objects.select_related("operation").get(pk=session.pk))
    return operation


def _begin(actor: Actor, session: Session, action: Action) -> Operation:
    under_way = active_operation("session", str(session.public_id))
    if under_way is None or under_way.kind != f"session.{action}":
        _require_allowed(session, action)
    operation, is_new = create_operation(
        actor=actor, kind=f"session.{action}", target=session.target, owner=session.owner, team=session.team
    )
    if not is_new:
        return operation
    desired = Desired.STOPPED
    if action is Action.START_AGAIN:
        desired = Desired.RUNNING
    elif action is Action.END and session.mode == Mode.EPHEMERAL:
        desired = Desired.GONE
    advance(session, by=actor, reason=_ASKED[action], desired=desired, operation=operation)
    record(f"session.{action}", actor=actor, target=session.target, team=session.team)
    return operation


def _kill(actor: Actor, session: Session) -> Operation:
    under_way = active_operation("session", str(session.public_id))
    if under_way is not None and under_way.kind == "session.kill":
        return under_way
    _require_allowed(session, Action.KILL)
    first_time = session.kill_requested_at is None
    asked: dict[str, Any] = {"kill_requested_at": timezone.now(), "kill_requested_by": actor.user}
    if under_way is not None:
        # Its settle finds kill_requested_at and follows with the kill; see sessions/work/outcomes.py.
        advance(session, by=actor, reason=_ASKED[Action.KILL], desired=Desired.GONE, **asked)
        cancel_operation(under_way)
        if first_time:
            record("session.kill", actor=actor, target=session.target, team=session.team)
        return under_way
    operation, _ = create_operation(
        actor=actor, kind="session.kill", target=session.target, owner=session.owner, team=session.team
    )
    advance(session, by=actor, reason=_ASKED[Action.KILL], desired=Desired.GONE, operation=operation, **asked)
    record("session.kill", actor=actor, target=session.target, team=session.team)
    return operation


_ASKED = {
    Action.START_AGAIN: "asked to start again",
    Action.STOP: "asked to stop",
    Action.END: "asked to end",
    Action.KILL: "asked to kill",
}


def _require_allowed(session: Session, action: Action) -> None:
    if action in allowed_actions(session.state, session.mode, is_live=session.is_live):
        return
    if session.is_live and session.state in (State.QUEUED, State.STARTING, State.STOPPING):
        advice = "Wait a moment, or kill it."
    elif session.is_live:
        advice = "Reload the page to see what can be done."
    else:
        advice = "Start a new one on the same workspace; its files are still there."
    raise Conflict(
        f"{session.name} is {session.state} and cannot be asked to {_VERB[action]}. {advice}",
        code="bad-state",
        data={"state": str(session.state)},
    )


_VERB = {
    Action.START_AGAIN: "start again",
    Action.STOP: "stop",
    Action.END: "end",
    Action.KILL: "be killed",
}


def _check_start(mode: str, profile: str, slot: int | None, once: str) -> Profile:
    if mode not in list(Mode):
        raise InvalidInput(
            "The mode is ephemeral or persistent.", code="unknown-mode", data={"field": "mode"}
        )
    if slot is not None and slot not in SLOTS:
        raise InvalidInput("A slot is a number from 1 to 10.", code="bad-slot", data={"field": "slot"})
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,64}", once):
        raise InvalidInput("The form is damaged. Reload the page.", code="bad-form", data={"field": "once"})
    return profile_named(profile)


def _check_usable(workspace: Workspace) -> None:
    if workspace.state == WorkspaceState.DELETING:
        raise Conflict(f"{workspace.slug} is being deleted.", code="workspace-deleting")
    if workspace.state == WorkspaceState.LOST:
        raise Conflict(
            f"The volume of {workspace.slug} was deleted outside the panel. Delete the workspace and make a new one.",
            code="workspace-lost",
        )


def _check_cap(user: User) -> None:
    limit, use = settings.COI_MAX_SESSIONS_PER_USER, live_sessions_count(user)
    if use >= limit:
        raise QuotaExceeded(
            f"You have {use} of {limit} sessions. End one (stopped ones count), "
            "or ask an administrator for more.",
            data={"limit": limit, "use": use, "resource": "sessions", "raised_by": "administrator"},
        )


def _free_slot(workspace: Workspace, wanted: int | None) -> int:
    used = set(Session.objects.filter(workspace=workspace, ended_at=None).values_list("slot", flat=True))
    if wanted is not None:
        if wanted in used:
            raise Conflict(
                f"Slot {wanted} of {workspace.slug} is in use. Choose another, or none for the lowest free one.",
                code="slot-in-use",
                data={"field": "slot"},
            )
        return wanted
    free = [slot for slot in SLOTS if slot not in used]
    if not free:
        raise Conflict(
            f"All 10 slots of {workspace.slug} are in use. End a session on it, or use another workspace.",
            code="no-free-slot",
        )
    # A slot whose last start met a foreign container of that name comes last.
    latest: dict[int, str] = dict(
        Session.objects.filter(workspace=workspace, slot__in=free)
        .order_by("pk")
        .values_list("slot", "ended_reason")
    )
    return min(free, key=lambda slot: (latest.get(slot) == EndReason.NAME_TAKEN, slot))


def _insert(user: User, workspace: Workspace, profile: Profile, mode: str, slot: int, once: str) -> Session:
    return Session.objects.create(
        name=container_name(workspace.identity, slot, prefix=settings.COI_CONTAINER_PREFIX),
        slot=slot,
        workspace=workspace,
        workspace_slug=workspace.slug,
        owner=user,
        owner_name=user.username,
        team=workspace.team,
        team_name=workspace.team_name,
        profile_name=profile.name,
        image=profile.image,
        mode=mode,
        once=once,
    )


def _operation_of(session: Session) -> Operation:
    if session.operation is None:
        raise Conflict(f"{session.name} was started long ago. Reload the page.", code="form-spent")
    return session.operation
