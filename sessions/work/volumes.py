"""Making and deleting the volumes of workspaces."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from coi_web.errors import Conflict, DiskFull, IncusConflict, IncusNotFound
from coi_web.incus import IncusApi
from coi_web.operations.runner import OperationContext
from sessions.containers import WORKSPACE_KEY, volume_config
from sessions.models import Workspace
from sessions.work.steps import undone_on_failure

POOL_FULL = (
    "The storage pool is full. Delete workspaces or sessions that are not needed, "
    "or ask an administrator: ./coi-web doctor shows what takes the space."
)


def create(context: OperationContext) -> dict[str, Any]:
    workspace = _workspace_of(context)
    made = False

    def undo() -> None:
        if made:  # one that was there before may hold somebody's work
            _remove(context.incus, workspace)

    with undone_on_failure(context, undo):
        context.progress("volume", 20, "Making the volume")
        made = ensure_volume(context.incus, workspace)
        context.progress("done", 100, "Ready")
    return {"volume": workspace.volume}


def delete(context: OperationContext) -> dict[str, Any]:
    workspace = _workspace_of(context)
    context.progress("volume", 20, "Deleting the volume")
    _remove(context.incus, workspace)
    return {}


def ensure_volume(incus: IncusApi, workspace: Workspace) -> bool:
    """Make the volume unless it is there; True if it was made now.

    Raises Conflict where the name belongs to somebody else, and IncusError.
    """
    try:
        incus.create_volume(
            settings.COI_INCUS_POOL,
            workspace.volume,
            size_bytes=workspace.size_bytes,
            config=volume_config(workspace),
        )
    except IncusConflict:
        there = incus.volume(settings.COI_INCUS_POOL, workspace.volume)
        if there.config.get(WORKSPACE_KEY) != str(workspace.public_id):
            raise Conflict(
                f"A volume {workspace.volume} exists and does not belong to this workspace. "
                "Choose another name for the workspace.",
                code="name-taken",
            ) from None
        return False
    except DiskFull as error:
        raise DiskFull(POOL_FULL, log_detail=error.log_detail) from error
    return True


def _remove(incus: IncusApi, workspace: Workspace) -> None:
    """Only the workspace's own volume; safe to repeat."""
    try:
        there = incus.volume(settings.COI_INCUS_POOL, workspace.volume)
        if there.config.get(WORKSPACE_KEY) == str(workspace.public_id):
            incus.delete_volume(settings.COI_INCUS_POOL, workspace.volume)
    except IncusNotFound:
        return


def _workspace_of(context: OperationContext) -> Workspace:
    workspace = Workspace.objects.filter(public_id=context.operation.target_id).first()
    if workspace is None:
        raise Conflict(f"{context.operation.target_name} is gone already.", code="workspace-gone")
    return workspace
