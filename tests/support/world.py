"""One of each thing that can be reached, all of it ana's (the owner's) in the team shop."""

from __future__ import annotations

from dataclasses import dataclass

from coi_web.accounts.models import ApiToken
from coi_web.accounts.services import create_sign_in_link, create_token
from coi_web.audit.models import AuditEvent
from coi_web.operations.models import Operation
from sessions.models import Session, Workspace
from sessions.services.lifecycle import start_session
from sessions.services.workspaces import create_workspace
from tests.support.cast import Cast


@dataclass(frozen=True, slots=True)
class World:
    """``session`` runs on ``workspace``; ``spare`` is a workspace with nothing on it; ``operation`` waits.

    ``link`` is a one-time sign-in link of the teammate, ``token_text`` the owner's token with scope write.
    """

    cast: Cast
    workspace: Workspace
    spare: Workspace
    session: Session
    operation: Operation
    event: AuditEvent
    token: ApiToken
    token_text: str
    link: str


def make_world(cast: Cast, on_commit: object) -> World:
    """``on_commit`` is pytest-django's ``django_capture_on_commit_callbacks``: operations run on the fake."""
    owner = cast.actor("owner")
    with on_commit(execute=True):  # type: ignore[operator]
        workspace, _ = create_workspace(actor=owner, name="web", team=cast.team)
    with on_commit(execute=True):  # type: ignore[operator]
        spare, _ = create_workspace(actor=owner, name="spare", team=cast.team)
    with on_commit(execute=True):  # type: ignore[operator]
        session, _ = start_session(actor=owner, workspace=workspace)
    # Not dispatched: stays queued, so that there is something to cancel.
    _, operation = create_workspace(actor=owner, name="waiting", team=cast.team)
    token, text = create_token(actor=owner, name="script", scope="write", days=30)
    session.refresh_from_db()
    return World(
        cast=cast,
        workspace=Workspace.objects.get(pk=workspace.pk),
        spare=Workspace.objects.get(pk=spare.pk),
        session=session,
        operation=operation,
        event=AuditEvent.objects.get(action="session.start"),
        token=token,
        token_text=text,
        link=create_sign_in_link(actor=cast.actor("administrator"), user=cast.teammate),
    )
