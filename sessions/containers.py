"""What a session is in Incus: its configuration, whose it is, and how it is taken away.

Nothing here touches the database.  Everything may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.conf import settings

from coi_web.errors import Conflict, IncusConflict, IncusNotFound
from coi_web.incus import IncusApi
from coi_web.incus.types import InstanceInfo, InstanceSpec, InstanceStatus
from sessions.models import Session, Workspace
from sessions.profiles import Profile, profile_named
from sessions.states import Observed

SESSION_KEY: Final = "user.coi_web.session"
WORKSPACE_KEY: Final = "user.coi_web.workspace"
#: Set when creating has ended well: without it, a container may be half unpacked.
MADE_KEY: Final = "user.coi_web.made"
WORKSPACE_PATH: Final = "/workspace"
#: COI's in-container user ``code``.
CODE_UID: Final = "1000"


def policy_of(profile: Profile) -> dict[str, str]:
    """Keys that hold at every start, as COI sets them; reset where somebody changed them by hand.

    A value of "" removes the key.
    """
    limits = profile.limits
    nesting = "true" if profile.docker else ""
    return {
        "boot.autostart": "false",
        "security.guestapi": "false",
        "security.privileged": "false",
        "security.nesting": nesting,
        "security.syscalls.intercept.mknod": nesting,
        "security.syscalls.intercept.setxattr": nesting,
        "linux.sysctl.net.ipv4.ip_unprivileged_port_start": "0" if profile.docker else "",
        "limits.cpu": limits.cpu,
        "limits.memory": limits.memory,
        "limits.memory.enforce": "soft",
        "limits.memory.swap": "true",
        "limits.processes": str(limits.processes or ""),
    }


def spec_of(session: Session, workspace: Workspace, *, hardened: bool = True) -> InstanceSpec:
    """The container of a session.  ``hardened`` adds what not every kernel can do."""
    profile = profile_named(session.profile_name)
    config = {key: value for key, value in policy_of(profile).items() if value}
    config |= {
        SESSION_KEY: str(session.public_id),
        "user.coi_web.owner": session.owner_name,
        "user.coi_web.team": session.team.slug if session.team else "",
        WORKSPACE_KEY: workspace.slug,
        "user.coi_web.profile": session.profile_name,
        "user.coi_web.mode": session.mode,
    }
    root = {"type": "disk", "path": "/", "pool": settings.COI_INCUS_POOL}
    if profile.limits.disk:
        root["size"] = profile.limits.disk
    nic = {"type": "nic", "network": settings.COI_INCUS_NETWORK}
    if hardened:
        config["security.idmap.isolated"] = "true"
        nic |= {
            "security.mac_filtering": "true",
            "security.ipv4_filtering": "true",
            "security.port_isolation": "true",
        }
    volume = {
        "type": "disk",
        "pool": settings.COI_INCUS_POOL,
        "source": workspace.volume,
        "path": WORKSPACE_PATH,
    }
    return InstanceSpec(
        name=session.name,
        image_alias=session.image,
        config=config,
        devices={"root": root, "eth0": nic, "workspace": volume},
    )


def volume_config(workspace: Workspace) -> dict[str, str]:
    """``shifted``: several containers with id ranges of their own can have the volume at once.

    Its top folder belongs to COI's user ``code``; without ``initial.*`` it would be root's, mode 0711.
    """
    return {
        "security.shifted": "true",
        "initial.uid": CODE_UID,
        "initial.gid": CODE_UID,
        "initial.mode": "0755",
        WORKSPACE_KEY: str(workspace.public_id),
    }


def find(incus: IncusApi, name: str) -> InstanceInfo | None:
    try:
        return incus.instance(name)
    except IncusNotFound:
        return None


def find_own(incus: IncusApi, session: Session) -> InstanceInfo | None:
    """The session's container, or None where there is none or it belongs to somebody else."""
    info = find(incus, session.name)
    return info if info is not None and is_of(info, session) else None


def is_of(info: InstanceInfo, session: Session) -> bool:
    return info.config.get(SESSION_KEY) == str(session.public_id)


def observed_of(info: InstanceInfo | None) -> Observed:
    return Observed.ABSENT if info is None else Observed(info.status.value)


def remove(incus: IncusApi, name: str, marker: Mapping[str, str]) -> bool:
    """Stop at once and delete the container ``name`` if it still carries ``marker``; True if one went.

    A container under that name without the marker is left alone.  Raises IncusError, and Conflict where
    it keeps coming up again.
    """
    for _attempt in range(4):
        info = find(incus, name)
        if info is None or any(info.config.get(key) != value for key, value in marker.items()):
            return _attempt > 0
        try:
            if info.status is not InstanceStatus.STOPPED:
                force_stop(incus, name)
            incus.delete_instance(name)
        except IncusNotFound:
            return True
        except IncusConflict as error:
            if error.code != "still-running":
                raise
    raise Conflict(f"{name} starts again whenever it is stopped.", code="keeps-running")


def force_stop(incus: IncusApi, name: str) -> None:
    """Safe to repeat.  Raises IncusNotFound."""
    try:
        incus.stop_instance(name, force=True)
    except IncusConflict as error:
        if error.code not in ("already-stopped", "not-running"):
            raise
