"""The work of sessions and workspaces on the engine, registered by kind; see ``coi_web.operations``."""

from __future__ import annotations

from coi_web.operations.registry import register_handler
from sessions.work import ending, outcomes, starting, volumes


def register() -> None:
    register_handler(
        "workspace.create",
        title="Make the workspace {target}",
        run=volumes.create,
        settle=outcomes.workspace_created,
    )
    register_handler(
        "workspace.delete",
        title="Delete the workspace {target}",
        run=volumes.delete,
        settle=outcomes.workspace_deleted,
    )
    register_handler("session.start", title="Start {target}", run=starting.start, settle=outcomes.started)
    register_handler(
        "session.start-again",
        title="Start {target} again",
        run=starting.start_again,
        settle=outcomes.started_again,
    )
    register_handler("session.stop", title="Stop {target}", run=ending.stop, settle=outcomes.stopped)
    register_handler("session.end", title="End {target}", run=ending.end, settle=outcomes.ended)
    register_handler("session.kill", title="Kill {target}", run=ending.kill, settle=outcomes.killed)
