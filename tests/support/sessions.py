"""Making workspaces and sessions in tests, and running their operations where the test can see them."""

from __future__ import annotations

from coi_web.audit.actors import Actor
from coi_web.incus.types import InstanceSpec
from coi_web.operations import runner
from coi_web.operations.models import Operation
from sessions.models import Session, Workspace
from sessions.services.lifecycle import start_session
from sessions.services.workspaces import create_workspace

MIB = 1024**2


def run_queued(*, most: int = 20) -> list[Operation]:
    """Run what is queued, with what follows from it, oldest first; returns it as it ended."""
    done: list[Operation] = []
    while operation := Operation.objects.filter(state=Operation.State.QUEUED).order_by("pk").first():
        assert len(done) < most, f"operations never end: {done}"
        runner.run(str(operation.public_id))
        operation.refresh_from_db()
        done.append(operation)
        if operation.is_active:
            break
    return done


def ready_workspace(
    actor: Actor, name: str = "shop", *, size_bytes: int = 64 * MIB, **more: object
) -> Workspace:
    workspace, _ = create_workspace(actor=actor, name=name, size_bytes=size_bytes, **more)  # type: ignore[arg-type]
    run_queued()
    workspace.refresh_from_db()
    assert workspace.state == "ready", workspace.operation
    return workspace


def running_session(actor: Actor, workspace: Workspace, *, mode: str = "ephemeral") -> Session:
    session, _ = start_session(actor=actor, workspace=workspace, mode=mode)
    run_queued()
    session.refresh_from_db()
    assert session.state == "running", (session.state, session.ended_message)
    return session


def foreign_spec(name: str, **config: str) -> InstanceSpec:
    """A container that somebody made with coi on the command line."""
    return InstanceSpec(
        name, "coi-default", config, {"root": {"type": "disk", "path": "/", "pool": "coi-web"}}
    )


def words_of(session: Session) -> list[str]:
    """Every word that the session has had, in order."""
    return list(session.transitions.values_list("to_state", flat=True))
