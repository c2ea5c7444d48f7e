"""Finding the Incus daemon and getting it to run."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from coi_web.launcher.errors import LauncherError
from coi_web.launcher.host import Host, find_program, has_systemd, run_streamed
from coi_web.launcher.incus_rest import DEFAULT_SOCKET, Reach, knock
from coi_web.launcher.packages import install_incus

_LOG_FOLDER = Path("/var/log/incus")
_START_LIMIT_S = 60
_GROUP = "incus-admin"
#: Set in the command that ``join_group`` starts, so that it cannot go round in circles.
_REJOINED = "COI_WEB_GROUP_JOINED"


def ensure_daemon(host: Host) -> None:
    """Sees to it that the machine's daemon answers: the running one, else a started or installed one.

    Raises LauncherError with what to do.
    """
    reach = knock()
    if reach is Reach.ANSWERS:
        return
    if reach is Reach.FORBIDDEN:
        join_group(host)
    if find_program("incusd") is None:
        install_incus(host)
    start_daemon(host)
    if knock() is Reach.FORBIDDEN:
        join_group(host)


def start_daemon(host: Host) -> None:
    """Starts the installed daemon, with systemd or by itself in its own session; it outlives us."""
    if has_systemd():
        host.change(
            [["systemctl", "start", "incus.service"]],
            title="Starting Incus",
            code="incus-stopped",
            reason="Incus is installed and does not run.",
            timeout_s=_START_LIMIT_S + 30,
        )
        _wait_for_socket()
        return
    if not host.is_root:
        raise LauncherError(
            "incus-stopped",
            "Incus is installed and does not run, and without systemd only root can start it.",
            mend=["sudo ./coi-web up"],
        )
    with host.output.step("Starting Incus"):
        launch_detached()
        _wait_for_socket()


def launch_detached() -> None:
    """Starts incusd in a session of its own (as root, on a machine without systemd); returns at once."""
    program = find_program("incusd")
    if program is None:
        raise LauncherError("incus-missing", "There is no incusd.", mend=["apt-get install incus-base"])
    for folder in (_LOG_FOLDER, Path("/run/incus")):
        folder.mkdir(parents=True, exist_ok=True)
    # Without --group the socket belongs to root alone.
    group = ["--group", _GROUP] if _group_exists(_GROUP) else []
    subprocess.Popen(
        [program, *group, "--logfile", str(_LOG_FOLDER / "incus.log")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _wait_for_socket() -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while knock() not in (Reach.ANSWERS, Reach.FORBIDDEN):
        if time.monotonic() > deadline:
            raise LauncherError(
                "incus-start",
                f"Incus did not answer within {_START_LIMIT_S} s of its start.",
                mend=[f"Look at {_LOG_FOLDER}/incus.log (with systemd: journalctl -u incus)."],
            )
        time.sleep(0.1)
    program = find_program("incusd")
    if program is not None and os.geteuid() == 0:
        run_streamed([program, "waitready", f"--timeout={_START_LIMIT_S}"], timeout_s=_START_LIMIT_S + 5)


def join_group(host: Host) -> NoReturn:
    """Starts this command again with the rights of Incus's group, joining it for good after consent.

    A group that was joined counts only from the next sign-in; ``sg`` makes it count at once.  Raises
    LauncherError where that is not wanted or did not help.
    """
    user = pwd.getpwuid(os.geteuid()).pw_name
    if os.environ.get(_REJOINED) or host.is_root or find_program("sg") is None or not _group_exists(_GROUP):
        raise LauncherError(
            "incus-forbidden",
            f"You may not use Incus: {DEFAULT_SOCKET} is for root and the group {_GROUP}.",
            mend=[
                f"sudo usermod -aG {_GROUP} {user}    (whoever is in that group controls every container)",
                f"Sign out and in again (or: newgrp {_GROUP}), then run ./coi-web up again.",
            ],
        )
    if user not in grp.getgrnam(_GROUP).gr_mem:
        host.change(
            [["usermod", "-aG", _GROUP, user]],
            title=f"Joining the group {_GROUP}",
            code="incus-forbidden",
            reason=f"Only root and the group {_GROUP} may use Incus; its members control every container.",
        )
    command = shlex.join([sys.executable, "-m", "coi_web.launcher", *sys.argv[1:]])
    os.environ[_REJOINED] = "1"
    os.execvp("sg", ["sg", _GROUP, "-c", command])  # noqa: S606 - quoted above


class DaemonWatch:
    """Brings the daemon back after a crash, on machines where no systemd does.

    A daemon that was *stopped* has taken its socket away; one that died leaves it behind.  Only the
    latter is started again.
    """

    def __init__(self, announce: Callable[[str], None], *, every_s: float = 2.0) -> None:
        self._announce = announce
        self._every_s = every_s
        self._next = 0.0
        self._seen = Reach.ANSWERS
        self._may_start = os.geteuid() == 0 and not has_systemd()

    def look(self, now: float) -> None:
        """Called often; does something every ``every_s`` seconds at most."""
        if now < self._next:
            return
        self._next = now + self._every_s
        reach = knock(timeout_s=0.5)
        if reach is Reach.STALE and self._may_start:
            self._announce("Incus died; starting it again. Containers go on running.")
            launch_detached()
            # It answers after about 3 s; a second one must not be started meanwhile.
            self._next = now + 15
        elif reach is not self._seen and reach is not Reach.ANSWERS:
            self._announce(f"Incus does not answer ({reach}). Terminals and starts wait until it is back.")
        elif reach is not self._seen:
            self._announce("Incus answers again.")
        self._seen = reach
