"""The storage pool and the network of the panel: made once, marked as ours, never anybody else's touched."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from coi_web.launcher.engine import NETWORK, POOL, not_there
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.incus_rest import MARK, IncusRefused, IncusRest
from coi_web.launcher.output import Output
from coi_web.launcher.sizes import GIB, show_size

_INCUS_FOLDER = Path("/var/lib/incus")
#: Bounds of the pool's loop file.  It is sparse: it takes from the disk what is written into it.
LEAST_POOL = 4 * GIB
MOST_POOL = 400 * GIB
#: What must stay free for the host itself.
_RESERVE = 2 * GIB


def choose_pool_size(free: int) -> int:
    """Half of what is free, in whole GiB, within bounds.  Raises LauncherError where that is too little."""
    size = min(MOST_POOL, max(LEAST_POOL, free // 2 // GIB * GIB))
    if size + _RESERVE > free:
        raise LauncherError(
            "disk-space",
            f"{show_size(free)} are free for containers; at least {show_size(LEAST_POOL + _RESERVE)} are needed.",
            mend=["Free some space below /var/lib/incus, or give --pool-size for a smaller pool."],
        )
    return size


def ensure_pool(rest: IncusRest, output: Output, name: str = POOL, *, size: int | None = None) -> None:
    """Makes our pool unless one of its name is there, which is used as it is.

    Raises LauncherError where a pool of another name is wanted and missing.
    """
    if rest.find(f"/1.0/storage-pools/{name}") is not None:
        return
    if name != POOL:
        raise not_there("pool", name, "COI_INCUS_POOL")
    with output.step("Making the storage pool") as step:
        chosen = size if size is not None else choose_pool_size(_free_for_pool())
        config: dict[str, str] = {
            "size": f"{chosen // GIB}GiB" if chosen >= GIB else str(chosen),
            MARK: "true",
        }
        try:
            _create_pool(rest, "btrfs", config)
            step.note = f"btrfs, up to {show_size(chosen)}"
        except IncusRefused as refusal:
            if "exists" in refusal.message.lower() and rest.find(f"/1.0/storage-pools/{POOL}"):
                return
            reason = refusal.message.splitlines()[0]
            try:
                _create_pool(rest, "dir", {MARK: "true"})
            except IncusRefused as second:
                raise LauncherError(
                    "incus-pool",
                    "The storage pool could not be made.",
                    detail=f"btrfs: {reason}\ndir: {second.message}",
                    mend=["Look at ./coi-web doctor."],
                ) from second
            step.note = f"plain folder, because btrfs did not work: {reason}"
    if "plain folder" in step.note:
        output.warn("A plain folder has no size limits and slow snapshots: see ./coi-web doctor.")


def _create_pool(rest: IncusRest, driver: str, config: dict[str, str]) -> None:
    body = {
        "name": POOL,
        "driver": driver,
        "description": "COI Web sessions and workspaces",
        "config": config,
    }
    rest.change("POST", "/1.0/storage-pools", body, timeout_s=120)


def _free_for_pool() -> int:
    folder = _INCUS_FOLDER if os.access(_INCUS_FOLDER, os.X_OK) else Path("/var/lib")
    return shutil.disk_usage(folder).free


def ensure_network(rest: IncusRest, output: Output, name: str = NETWORK) -> None:
    """Makes our bridge unless one of its name is there, on a 10.x.y.0/24 that nothing here uses.

    Raises LauncherError where a network of another name is wanted and missing.
    """
    if rest.find(f"/1.0/networks/{name}") is not None:
        return
    if name != NETWORK:
        raise not_there("network", name, "COI_INCUS_NETWORK")
    with output.step("Making the network") as step:
        taken = [*used_networks(rest), *routed_networks(_ip_routes())]
        subnet = choose_subnet(taken)
        config = {
            "ipv4.address": f"{subnet[1]}/{subnet.prefixlen}",
            "ipv4.nat": "true",
            "ipv6.address": "none",
            MARK: "true",
        }
        body = {"name": NETWORK, "type": "bridge", "description": "COI Web sessions", "config": config}
        try:
            rest.change("POST", "/1.0/networks", body)
        except IncusRefused as refusal:
            if rest.find(f"/1.0/networks/{NETWORK}") is not None:
                return
            raise LauncherError(
                "incus-network",
                "The network for sessions could not be made.",
                detail=refusal.message,
                mend=["Are dnsmasq-base and nftables installed? ./coi-web doctor says more."],
            ) from refusal
        step.note = config["ipv4.address"]


def choose_subnet(taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """The first 10.x.y.0/24 that overlaps nothing; begins in the middle, away from what people choose by hand."""
    used = list(taken)
    for second in (*range(118, 256), *range(118)):
        block = ipaddress.IPv4Network(f"10.{second}.0.0/16")
        if not any(block.overlaps(network) for network in used):
            return ipaddress.IPv4Network(f"10.{second}.76.0/24")
    for second in range(256):
        for third in range(1, 255):
            subnet = ipaddress.IPv4Network(f"10.{second}.{third}.0/24")
            if not any(subnet.overlaps(network) for network in used):
                return subnet
    raise LauncherError(
        "incus-network", "No free 10.x.y.0/24 was found.", mend=[f"Make a bridge named {NETWORK} by hand."]
    )


def used_networks(rest: IncusRest) -> list[ipaddress.IPv4Network]:
    """The IPv4 ranges of Incus's own networks, those that are down included."""
    found = []
    networks: list[dict[str, Any]] = rest.get("/1.0/networks", all_projects="true", recursion="1")
    for network in networks:
        address = str((network.get("config") or {}).get("ipv4.address") or "")
        if "/" in address:
            found.append(ipaddress.IPv4Interface(address).network)
    return found


def routed_networks(routes: str) -> list[ipaddress.IPv4Network]:
    """The ranges in the output of ``ip -4 route show table all``; the default route does not count."""
    found = []
    for line in routes.splitlines():
        words = line.split()
        target = next((word for word in words if word[:1].isdigit()), "")
        if not target or words[0] == "default":
            continue
        try:
            network = ipaddress.IPv4Network(target, strict=False)
        except ValueError:
            continue
        # Half of the address space and more is a VPN's way of writing "default".
        if network.prefixlen > 1:
            found.append(network)
    return found


def _ip_routes() -> str:
    try:
        done = subprocess.run(
            ["ip", "-4", "route", "show", "table", "all"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout
