"""Who may open a terminal and how many, asked of the database; and what the audit log says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from coi_web.audit.actions import register_action
from coi_web.audit.actors import Actor
from coi_web.audit.services import record
from coi_web.errors import CoiError, Conflict, Forbidden, RateLimited, SignedOut
from sessions.access import get_session_for
from sessions.models import Session
from sessions.states import Action, allowed_actions
from sessions.terminals.protocol import CloseCode

register_action("terminal.attach", "opened a terminal of {target}")
register_action("terminal.detach", "closed a terminal of {target}")


class SessionEnded(Conflict):
    """The session is history; its terminal does not come back."""

    default_code = "session-ended"
    close_code = CloseCode.ENDED.value


def session_to_attach(actor: Actor, key: str) -> Session:
    """The running session, or the reason why this person gets no terminal of it.

    Raises SignedOut, NotFound, Forbidden, SessionEnded, and Conflict while it does not run.  A refusal
    of somebody who can see the session is recorded.
    """
    try:
        session = get_session_for(actor, key, to="attach")
    except Forbidden as error:
        seen = get_session_for(actor, key, to="view")
        record_refusal(actor, seen, error)
        raise
    if not session.is_live:
        raise SessionEnded("This session has ended. Start a new one on its workspace.")
    if Action.ATTACH not in allowed_actions(session.state, session.mode, is_live=True):
        raise Conflict(
            f"The session is {session.state}. Its terminal opens when it runs.", code="not-running"
        )
    return session


def check_still(actor: Actor, session_key: str, key: str) -> None:
    """Ask again whether an open terminal may stay open; raises as ``session_to_attach`` does.

    ``session_key`` is that of the browser's signed-in session, which may be gone by now.
    A session that is frozen or stopping keeps its terminals: the engine says when they are over.
    """
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    person = get_user(request)
    if person.pk is None or person.pk != actor.user_id or not person.is_active:
        raise SignedOut("You are signed out. Sign in to go on.")
    session = get_session_for(replace(actor, user=person), key, to="attach")
    if not session.is_live:
        raise SessionEnded("This session has ended. Start a new one on its workspace.")


def why_over(session: Session) -> CloseCode | None:
    """Why a terminal whose command ended will not come back; None while the session runs."""
    now = Session.objects.filter(pk=session.pk).first()
    if now is None or not now.is_live:
        return CloseCode.ENDED
    may_attach = Action.ATTACH in allowed_actions(now.state, now.mode, is_live=True)
    return None if may_attach else CloseCode.NOT_RUNNING


def record_attach(actor: Actor, session: Session) -> None:
    record("terminal.attach", actor=actor, target=session.target, team=session.team)


def record_detach(actor: Actor, session: Session, data: dict[str, Any]) -> None:
    record("terminal.detach", actor=actor, target=session.target, team=session.team, data=data)


def record_refusal(actor: Actor, session: Session, error: CoiError) -> None:
    record(
        "terminal.attach",
        actor=actor,
        target=session.target,
        team=session.team,
        outcome="refused",
        data={"code": error.code},
    )


_open_by_person: Counter[int] = Counter()
_open_by_session: Counter[int] = Counter()


@contextmanager
def counted(actor: Actor, session: Session) -> Iterator[None]:
    """Hold one of the places for terminals in this web process; raises RateLimited when all are taken."""
    person, place = actor.require_user().pk, session.pk
    if _open_by_person[person] >= settings.COI_MAX_TERMINALS_PER_USER:
        raise RateLimited(
            f"You have {_open_by_person[person]} terminals open, the most allowed. Close one.",
            code="too-many-terminals",
        )
    if _open_by_session[place] >= settings.COI_MAX_TERMINALS_PER_SESSION:
        raise RateLimited(
            f"This session has {_open_by_session[place]} terminals open, the most allowed. Close one.",
            code="too-many-terminals",
        )
    _open_by_person[person] += 1
    _open_by_session[place] += 1
    try:
        yield
    finally:
        for counter, key in ((_open_by_person, person), (_open_by_session, place)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
