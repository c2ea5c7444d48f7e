"""Starting sessions: volume, container, verification."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings

from coi_web.errors import (
    Conflict,
    DiskFull,
    IncusConflict,
    IncusError,
    IncusNotFound,
    IncusRejected,
    IncusUnavailable,
)
from coi_web.incus import IncusApi
from coi_web.incus.types import InstanceInfo, InstanceStatus
from coi_web.operations.runner import OperationContext
from sessions.containers import (
    MADE_KEY,
    SESSION_KEY,
    find,
    find_own,
    force_stop,
    is_of,
    policy_of,
    remove,
    spec_of,
)
from sessions.models import Session, Workspace, WorkspaceState
from sessions.names import SLOTS
from sessions.profiles import profile_named
from sessions.states import LEAVES_NOTHING, Observed
from sessions.transitions import set_workspace_state
from sessions.work.steps import log, see, session_of, undone_on_failure, workspace_of
from sessions.work.volumes import POOL_FULL, ensure_volume

#: A container that a dead worker was making stays busy until Incus has finished with it.
BUSY_FOR_S: Final = 60.0
_POLL_S: Final = 0.25
#: COI's default of ``[container] ready_timeout``.
READY_TIMEOUT_S: Final = 30.0
#: EX_TEMPFAIL of sysexits.h.
_NOT_YET: Final = 75
_HAS_BOOTED: Final = (
    "sh",
    "-c",
    "command -v systemctl >/dev/null 2>&1 || exit 0; systemctl is-active --quiet sysinit.target || exit 75",
)


def start(context: OperationContext) -> dict[str, Any]:
    """Make the container and start it; on failure and cancellation nothing of it stays."""
    session = session_of(context)
    workspace = workspace_of(session)
    mark = {SESSION_KEY: str(session.public_id)}
    with undone_on_failure(context, lambda: _take_away(context.incus, session.name, mark)):
        try:
            hardening = _make_and_start(context, session, workspace)
        except DiskFull as error:
            raise DiskFull(POOL_FULL, log_detail=error.log_detail) from error
        except IncusNotFound as error:
            if error.code in ("image-missing", "workspace-lost"):
                raise
            raise _gone(session, error) from error
        context.progress("done", 100, "Running")
    return {"name": session.name, "hardening": hardening, "seen": Observed.RUNNING.value}


def start_again(context: OperationContext) -> dict[str, Any]:
    """Start the stopped container as it is; on failure it is stopped again."""
    session = session_of(context)
    if find_own(context.incus, session) is None:
        raise _gone(session)
    with undone_on_failure(context, lambda: force_stop(context.incus, session.name)):
        try:
            _start_kept(context, session)
        except DiskFull as error:
            raise DiskFull(
                f"The disk of {session.name} is full, so it cannot be started. Kill the session and start a new "
                "one (the workspace's files stay), or ask an administrator to enlarge the disk with: "
                f"incus config device set {session.name} root size=…",
                log_detail=error.log_detail,
            ) from error
        except IncusNotFound as error:
            raise _gone(session, error) from error
        context.progress("done", 100, "Running")
    return {"name": session.name, "seen": Observed.RUNNING.value}


def _start_kept(context: OperationContext, session: Session) -> None:
    context.progress("settings", 15, "Setting limits and policy")
    policy = policy_of(profile_named(session.profile_name))
    context.incus.update_config(session.name, {key: value or None for key, value in policy.items()})
    context.progress("start", 40, "Starting the container")
    _start(context.incus, session.name)
    _await_boot(context, session)


def _make_and_start(context: OperationContext, session: Session, workspace: Workspace) -> str:
    incus = context.incus
    if workspace.state != WorkspaceState.READY:
        context.progress("volume", 5, "Making the workspace's volume")
        ensure_volume(incus, workspace)
        set_workspace_state(
            workspace, WorkspaceState.READY, expect=(WorkspaceState.CREATING, WorkspaceState.FAILED)
        )
    context.progress("create", 20, f"Unpacking the image {session.image}")
    info = _create(incus, session, workspace, hardened=True)
    hardening = "full"
    if info.status is not InstanceStatus.RUNNING:
        see(context, session, Observed.STOPPED)
        context.progress("start", 60, "Starting the container")
        try:
            _start(incus, session.name)
        except IncusRejected as error:
            # Not every kernel can do id ranges per container and NIC filters; COI goes on without, too.
            log.warning("start-without-hardening", session=session.name, detail=error.log_detail)
            context.progress("create", 30, "Unpacking again, with settings that this kernel can do")
            remove(incus, session.name, {SESSION_KEY: str(session.public_id)})
            _create(incus, session, workspace, hardened=False)
            context.progress("start", 70, "Starting the container")
            _start(incus, session.name)
            hardening = "reduced"
    _await_boot(context, session)
    return hardening


def _create(incus: IncusApi, session: Session, workspace: Workspace, *, hardened: bool) -> InstanceInfo:
    """The session's container, whole.  One that a dead run left half made gives way to a new one."""
    try:
        incus.create_instance(spec_of(session, workspace, hardened=hardened))
    except IncusConflict as error:
        there = find(incus, session.name)
        if there is not None and is_of(there, session) and there.config.get(MADE_KEY):
            return there
        if there is not None and not _is_leftover(there, session):
            raise _name_taken(session) from error
        if there is not None:
            _take_away(incus, session.name, {SESSION_KEY: there.config[SESSION_KEY]})
        incus.create_instance(spec_of(session, workspace, hardened=hardened))
    except (IncusNotFound, IncusRejected) as error:
        _explain(incus, session, workspace)
        raise error
    incus.update_config(session.name, {MADE_KEY: "true"})
    return incus.instance(session.name)


def _is_leftover(there: InstanceInfo, session: Session) -> bool:
    """Half made by an earlier run of this start, or of a session of ours that is over."""
    key = there.config.get(SESSION_KEY, "")
    if key == str(session.public_id):
        return True
    over = Session.objects.filter(name=session.name, ended_reason__in=list(LEAVES_NOTHING))
    return key in {str(public_id) for public_id in over.values_list("public_id", flat=True)}


def _name_taken(session: Session) -> Conflict:
    other = session.slot + 1 if session.slot + 1 in SLOTS else SLOTS.start
    return Conflict(
        f"A container {session.name} exists already and does not belong to the panel, probably made with coi "
        f"on the command line. Start the session again: it takes another slot, such as {other}.",
        code="name-taken",
        data={"slot": other},
    )


def _gone(session: Session, error: IncusNotFound | None = None) -> Conflict:
    return Conflict(
        f"The container {session.name} was deleted outside the panel. "
        "Start a new session on the workspace; its files are still there.",
        code="container-gone",
        log_detail="" if error is None else error.log_detail,
    )


def _explain(incus: IncusApi, session: Session, workspace: Workspace) -> None:
    """Raise what is missing; returns where nothing is."""
    try:
        incus.image(session.image)
    except IncusNotFound as error:
        raise IncusNotFound(
            f"The image {session.image} is not there. On the machine of the panel, ./coi-web up builds it; "
            "./coi-web doctor says what else is missing.",
            code="image-missing",
            log_detail=error.log_detail,
        ) from error
    try:
        incus.volume(settings.COI_INCUS_POOL, workspace.volume)
    except IncusNotFound as error:
        raise IncusNotFound(
            f"The volume of {workspace.slug} was deleted outside the panel. "
            "Delete the workspace and make a new one.",
            code="workspace-lost",
            log_detail=error.log_detail,
        ) from error


def _start(incus: IncusApi, name: str) -> None:
    """Safe to repeat."""
    _patiently(lambda: _start_once(incus, name))


def _start_once(incus: IncusApi, name: str) -> None:
    try:
        incus.start_instance(name)
    except IncusConflict as error:
        if error.code != "already-running":
            raise


def _await_boot(context: OperationContext, session: Session) -> None:
    """Until systemd inside has set the system up (it empties /tmp on the way, and a tmux of then with it).

    Images with another init are ready at once.  One that does not get there within COI's ``ready_timeout``
    (coi.md 3.2) is handed over as it is: a person can look.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        context.progress("verify", 85, "Waiting until it has booted")
        _require_running(context.incus, session)
        try:
            seen = context.incus.run(session.name, _HAS_BOOTED, timeout_s=5)
        except (IncusUnavailable, IncusNotFound):
            raise
        except IncusError as error:
            log.info("boot-not-seen", session=session.name, code=error.code, detail=error.log_detail)
            return
        if seen.exit_code != _NOT_YET:
            return
        if time.monotonic() > deadline:
            log.warning("boot-slow", session=session.name, timeout_s=READY_TIMEOUT_S)
            return
        time.sleep(_POLL_S)


def _require_running(incus: IncusApi, session: Session) -> None:
    info = find_own(incus, session)
    if info is None:
        raise _gone(session)
    if info.status is not InstanceStatus.RUNNING:
        raise IncusRejected(
            f"{session.name} stopped right after it was started. Try again; if it happens again, "
            f"an administrator finds the reason with: incus info {session.name} --show-log",
            code="stopped-at-once",
            log_detail=f"status {info.status} after start",
        )


def _take_away(incus: IncusApi, name: str, mark: dict[str, str]) -> None:
    _patiently(lambda: remove(incus, name, mark))


def _patiently(call: Callable[[], object]) -> None:
    """Again while Incus is busy with the container, for as long as making one may take."""
    deadline = time.monotonic() + BUSY_FOR_S
    while True:
        try:
            call()
            return
        except IncusConflict as error:
            if error.code != "busy" or time.monotonic() > deadline:
                raise
        time.sleep(_POLL_S)
