"""Making and deleting workspaces."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import transaction

from coi_web.accounts.access import require_user, team_ids
from coi_web.accounts.models import Team, User
from coi_web.audit.actors import Actor
from coi_web.audit.services import Target, record, refusals_recorded
from coi_web.errors import Conflict, Forbidden, InvalidInput, NotFound, QuotaExceeded
from coi_web.operations.models import Operation
from coi_web.operations.services import create_operation, lock_active_operation
from sessions.access import get_workspace_for
from sessions.models import Session, Workspace, WorkspaceState
from sessions.names import is_workspace_name, volume_name, workspace_slug
from sessions.queries import workspaces_count
from sessions.transitions import announce_workspace

#: btrfs needs some megabytes for itself; below this a volume is full before anybody writes.
MIN_SIZE_BYTES: Final = 16 * 1024**2
MAX_SIZE_BYTES: Final = 4 * 1024**4
DEFAULT_SIZE_BYTES: Final = 10 * 1024**3


def create_workspace(
    *, actor: Actor, name: str, size_bytes: int = DEFAULT_SIZE_BYTES, team: Team | None = None
) -> tuple[Workspace, Operation]:
    """A new workspace of the actor, visible to ``team`` where one is given.

    It can be used at once: starting a session makes the volume if it is not there yet.  The same name
    again while it is being made, or after that failed, returns the same workspace.
    Raises InvalidInput (``data["field"]``), Forbidden, Conflict, QuotaExceeded.
    """
    user = require_user(actor)
    target = Target("workspace", "", workspace_slug(user.username, name)[:64])
    with refusals_recorded("workspace.create", actor=actor, target=target, team=team):
        _check(user, name, size_bytes, team)
        with transaction.atomic():
            User.objects.select_for_update(no_key=True).get(pk=user.pk)
            workspace = Workspace.objects.filter(owner=user, name=name).first()
            if workspace is not None:
                lock_active_operation(workspace.target)
                workspace = Workspace.objects.select_for_update(no_key=True).filter(pk=workspace.pk).first()
            if workspace is None:
                workspace = _new(user, name, size_bytes, team)
            elif workspace.state not in (WorkspaceState.CREATING, WorkspaceState.FAILED):
                raise Conflict(
                    f"You have a workspace “{name}” already. Choose another name, or use that one.",
                    code="workspace-exists",
                    data={"field": "name"},
                )
            operation, is_new = create_operation(
                actor=actor, kind="workspace.create", target=workspace.target, owner=user, team=workspace.team
            )
            if is_new:
                workspace.state, workspace.operation = WorkspaceState.CREATING, operation
                workspace.save(update_fields=["state", "operation"])
                announce_workspace(workspace)
                record(
                    "workspace.create", actor=actor, target=workspace.target, team=workspace.team,
                    data={"size_bytes": workspace.size_bytes},
                )  # fmt: skip
    return workspace, operation


def delete_workspace(*, actor: Actor, workspace: Workspace) -> Operation:
    """Delete the volume with everything on it; asked twice, it is one operation.

    Raises NotFound, Forbidden, and Conflict (``workspace-in-use``) while a live session is on it.
    """
    with refusals_recorded("workspace.delete", actor=actor, target=workspace.target, team=workspace.team):
        get_workspace_for(actor, str(workspace.public_id), to="delete")
        with transaction.atomic():
            lock_active_operation(workspace.target)
            locked = Workspace.objects.select_for_update(no_key=True).filter(pk=workspace.pk).first()
            if locked is None:
                raise NotFound("There is no such workspace, or you cannot see it.", code="no-such-workspace")
            using = list(
                Session.objects.filter(workspace=locked, ended_at=None).values_list("name", flat=True)
            )
            if using:
                raise Conflict(
                    f"{locked.slug} is in use by {', '.join(sorted(using))}. "
                    "End or kill every session on it first.",
                    code="workspace-in-use",
                    data={"sessions": sorted(using)},
                )
            operation, is_new = create_operation(
                actor=actor,
                kind="workspace.delete",
                target=locked.target,
                owner=locked.owner,
                team=locked.team,
            )
            if is_new:
                locked.state, locked.operation = WorkspaceState.DELETING, operation
                locked.save(update_fields=["state", "operation"])
                announce_workspace(locked)
                record("workspace.delete", actor=actor, target=locked.target, team=locked.team)
    return operation


def _check(user: User, name: str, size_bytes: int, team: Team | None) -> None:
    if not is_workspace_name(name):
        raise InvalidInput(
            "Use up to 31 small letters, digits and hyphens, beginning with a letter or digit.",
            code="bad-workspace-name",
            data={"field": "name"},
        )
    if not MIN_SIZE_BYTES <= size_bytes <= MAX_SIZE_BYTES:
        raise InvalidInput(
            "A workspace has between 16 MiB and 4 TiB.", code="bad-size", data={"field": "size_bytes"}
        )
    if team is not None and team.pk not in team_ids(user):
        raise Forbidden("You are not a member of this team.", code="not-a-member", data={"field": "team"})


def _new(user: User, name: str, size_bytes: int, team: Team | None) -> Workspace:
    limit, use = settings.COI_MAX_WORKSPACES_PER_USER, workspaces_count(user)
    if use >= limit:
        raise QuotaExceeded(
            f"You have {use} of {limit} workspaces. Delete one, or ask an administrator for more.",
            data={"limit": limit, "use": use, "resource": "workspaces", "raised_by": "administrator"},
        )
    workspace = Workspace(
        owner=user, owner_name=user.username, team=team, team_name=team.name if team else "",
        name=name, slug=workspace_slug(user.username, name), size_bytes=size_bytes,
    )  # fmt: skip
    workspace.volume = volume_name(workspace.slug, workspace.public_id)
    workspace.save(force_insert=True)
    return workspace
