"""Who may do what with workspaces and sessions.  "Not yours" and "not there" are the same NotFound.

=============  ====  ==================  =====================
person         view  stop, end, kill     start again, attach
=============  ====  ==================  =====================
owner          yes   yes                 yes
lead of team   yes   yes                 no
teammate       yes   no                  no
auditor        all   no                  no
administrator  all   yes                 no
=============  ====  ==================  =====================
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Literal

from django.db.models import F

from coi_web.accounts.access import led_team_ids, require_user
from coi_web.audit.actors import Actor
from coi_web.errors import Forbidden, NotFound
from sessions.models import Session, Workspace
from sessions.queries import sessions_visible_to, workspaces_visible_to
from sessions.states import Action, allowed_actions

SessionRight = Literal["view", "operate", "own", "attach"]
WorkspaceRight = Literal["view", "use", "delete"]

_OPERATE = frozenset({Action.STOP, Action.END, Action.KILL})
_OWN = _OPERATE | {Action.START_AGAIN, Action.ATTACH}


def get_session_for(actor: Actor, key: str, *, to: SessionRight) -> Session:
    """The session named ``key``: a UUID, or a container name (its live session, else the latest).

    ``operate`` is stop, end and kill; ``own`` is start again; ``attach`` is opening a terminal.  Whether
    the session's state allows it is asked later.  Raises SignedOut, NotFound, Forbidden.
    """
    user = require_user(actor)
    visible = sessions_visible_to(actor)
    public_id = _uuid(key)
    found = visible.filter(public_id=public_id) if public_id else visible.filter(name=_plain(key))
    session = found.order_by(F("ended_at").desc(nulls_first=True), "-pk").first()
    if session is None:
        raise NotFound("There is no such session, or you cannot see it.", code="no-such-session")
    if to == "view" or session.owner_id == user.pk:
        return session
    if to == "attach":
        raise Forbidden("Only its owner can open a terminal of this session.", code="not-owner")
    if to == "own":
        raise Forbidden("Only its owner can start this session again.", code="not-owner")
    if user.is_superuser or session.team_id in led_team_ids(user):
        return session
    raise Forbidden(
        "Only its owner, a lead of its team or an administrator can do this to the session.", code="not-owner"
    )


def get_workspace_for(actor: Actor, key: str, *, to: WorkspaceRight) -> Workspace:
    """The workspace with the slug or UUID ``key``.  ``use`` is starting sessions on it."""
    user = require_user(actor)
    public_id = _uuid(key)
    visible = workspaces_visible_to(actor)
    found = visible.filter(public_id=public_id) if public_id else visible.filter(slug=_plain(key))
    workspace = found.first()
    if workspace is None:
        raise NotFound("There is no such workspace, or you cannot see it.", code="no-such-workspace")
    if to == "view" or workspace.owner_id == user.pk:
        return workspace
    if to == "delete" and user.is_superuser:
        return workspace
    if to == "use":
        raise Forbidden("Only its owner can start sessions on this workspace.", code="not-owner")
    raise Forbidden("Only its owner or an administrator can delete this workspace.", code="not-owner")


def actions_for(actor: Actor, session: Session) -> frozenset[str]:
    """What this person may do to the session as it is now: the buttons to show."""
    return actions_by_session(actor, [session])[session.pk]


def actions_by_session(actor: Actor, sessions: Iterable[Session]) -> dict[int, frozenset[str]]:
    """The same for many, by primary key, for one query."""
    user = require_user(actor)
    led = frozenset() if user.is_superuser else frozenset(led_team_ids(user))
    result: dict[int, frozenset[str]] = {}
    for session in sessions:
        if session.owner_id == user.pk:
            may = _OWN
        elif user.is_superuser or session.team_id in led:
            may = _OPERATE
        else:
            may = frozenset()
        allowed = allowed_actions(session.state, session.mode, is_live=session.is_live)
        result[session.pk] = frozenset(action.value for action in may & allowed)
    return result


def _uuid(key: str) -> uuid.UUID | None:
    """Only the usual form with hyphens, which no name or slug of ours has in these places."""
    if len(key) != 36:
        return None
    try:
        return uuid.UUID(key)
    except ValueError:
        return None


def _plain(key: str) -> str:
    """The key, or "" where it has characters that no name of ours has: PostgreSQL takes no NUL."""
    return key if re.fullmatch(r"[A-Za-z0-9.-]{1,100}", key) else ""
