"""Checks of the engine: the daemon, and what is ours in it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from coi_web.launcher.engine import STARTER
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.finding import Finding, fail, warn, well
from coi_web.launcher.host import find_program, has_systemd
from coi_web.launcher.incus_rest import IncusRest, Reach, knock, trusted_server
from coi_web.launcher.packages import INCUS, SUPPORT, missing
from coi_web.launcher.panel import Panel
from coi_web.launcher.sizes import GIB, show_size

#: COI's own thresholds for pools and the age of the default image.
_POOL_FAIL, _POOL_WARN = 0.9, 0.8
_POOL_FAIL_FREE, _POOL_WARN_FREE = 2 * GIB, 5 * GIB
_IMAGE_OLD_DAYS = 30
_START = "systemctl start incus" if has_systemd() else "./coi-web up (it starts Incus)"


def daemon(panel: Panel) -> Iterator[Finding]:
    if panel.engine.remote:
        yield well("incus", f"{panel.engine.remote} is used; this machine's own is not looked at")
        return
    reach = knock(panel.engine.socket)
    if reach is Reach.ANSWERS:
        try:
            server = trusted_server(panel.engine.client())
        except LauncherError as error:
            yield fail("incus", error.message, *error.mend)
            return
        yield well("incus", f"version {server['environment']['server_version']} answers")
    elif reach is Reach.FORBIDDEN:
        yield fail(
            "incus", "You may not use Incus.", "Run as root, or join the group incus-admin and sign in again."
        )
    elif find_program("incusd") is None:
        yield fail(
            "incus", "Incus is not installed.", "./coi-web up --yes (--no-install prints the commands)"
        )
    else:
        died = " It died: its socket is still there." if reach is Reach.STALE and not has_systemd() else ""
        yield fail("incus", f"Incus does not run.{died}", _START)


def packages(panel: Panel) -> Iterator[Finding]:
    if panel.engine.remote or find_program("dpkg-query") is None:
        return
    lacking = [name for name in missing([*INCUS, *SUPPORT]) if not _there_anyway(name)]
    if lacking:
        yield warn(
            "packages", f"Not installed: {', '.join(lacking)}.", f"apt-get install {' '.join(lacking)}"
        )
    else:
        yield well("packages", "everything that Incus and the image builder need is installed")


def _there_anyway(name: str) -> bool:
    """Incus may come from elsewhere than the distribution."""
    return name in INCUS and find_program("incusd" if name == "incus-base" else "incus") is not None


def pool(panel: Panel) -> Iterator[Finding]:
    rest = _client(panel)
    if rest is None:
        return
    name = panel.engine.pool
    found = rest.find(f"/1.0/storage-pools/{name}")
    if found is None:
        yield fail("incus-pool", f"There is no storage pool {name}.", "./coi-web up makes it")
        return
    space = rest.get(f"/1.0/storage-pools/{name}/resources")["space"]
    total, used = int(space.get("total", 0)), int(space.get("used", 0))
    free = total - used
    text = f"{found['driver']}, {show_size(used)} of {show_size(total)} used"
    help_text = "Delete snapshots, ended sessions and images nobody needs, or enlarge the pool."
    if total and (free < _POOL_FAIL_FREE or used > total * _POOL_FAIL):
        yield fail("incus-pool", f"The storage pool is nearly full: {text}.", help_text)
    elif total and (free < _POOL_WARN_FREE or used > total * _POOL_WARN):
        yield warn("incus-pool", f"The storage pool fills up: {text}.", help_text)
    elif found["driver"] == "dir":
        yield warn(
            "incus-pool",
            f"{text}: a plain folder has no size limits and slow snapshots.",
            "modprobe btrfs loop; then ./coi-web remove and ./coi-web up for a btrfs pool",
        )
    else:
        yield well("incus-pool", text)


def network(panel: Panel) -> Iterator[Finding]:
    rest = _client(panel)
    if rest is None:
        return
    name = panel.engine.network
    found = rest.find(f"/1.0/networks/{name}")
    if found is None:
        yield fail("incus-network", f"There is no network {name}.", "./coi-web up makes it")
        return
    address = found["config"].get("ipv4.address", "no address")
    if not Path("/sys/class/net", name).exists():
        yield fail(
            "incus-network",
            f"The network {name} ({address}) is not up.",
            "Restart Incus; /var/log/incus/incus.log says why it could not start it.",
        )
    else:
        yield well("incus-network", f"{name} {address}")


def images(panel: Panel) -> Iterator[Finding]:
    rest = _client(panel)
    if rest is None:
        return
    wanted = panel.engine.image
    alias = rest.find(f"/1.0/images/aliases/{wanted}")
    if alias is None:
        yield fail("image", f"There is no image {wanted} to start sessions from.", "./coi-web up builds it")
        return
    image: dict[str, Any] = rest.get(f"/1.0/images/{alias['target']}")
    created = datetime.fromisoformat(str(image["created_at"]).replace("Z", "+00:00"))
    days = int((time.time() - created.timestamp()) / 86400)
    text = f"{wanted}: {image.get('properties', {}).get('description', '')}, {show_size(int(image['size']))}"
    if wanted == STARTER and days > _IMAGE_OLD_DAYS:
        yield warn(
            "image",
            f"{text}, {days} days old: security updates are missing.",
            f"incus image alias delete {STARTER}; ./coi-web up builds a new one",
        )
    else:
        yield well("image", text)


def user_mapping(panel: Panel) -> Iterator[Finding]:
    if panel.engine.remote:
        return
    for path in (Path("/etc/subuid"), Path("/etc/subgid")):
        if not path.is_file() or not any(line.startswith("root:") for line in path.read_text().splitlines()):
            yield warn(
                "user-mapping",
                f"{path} gives root no range: containers may not start unprivileged.",
                f"echo root:1000000:1000000000 >> {path}, then restart Incus",
            )
            return
    yield well("user-mapping", "root has ranges for unprivileged containers")


def lxcfs(panel: Panel) -> Iterator[Finding]:
    if panel.engine.remote:
        return
    if os.path.ismount("/var/lib/lxcfs") or os.path.ismount("/var/lib/incus-lxcfs"):
        yield well("lxcfs", "containers see their own memory and CPU limits")
    else:
        yield warn(
            "lxcfs",
            "lxcfs does not run: inside a container, free and top show the host's memory. Limits hold all the same.",
            "apt-get install lxcfs" + ("" if has_systemd() else "; then: lxcfs /var/lib/lxcfs &"),
        )


def _client(panel: Panel) -> IncusRest | None:
    """None where the check of the daemon has said it all."""
    engine = panel.engine
    return None if engine.remote or knock(engine.socket) is not Reach.ANSWERS else engine.client()


CHECKS = (daemon, packages, pool, network, images, user_mapping, lxcfs)
