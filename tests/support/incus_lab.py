"""A corner of the real Incus for one run of the tests: own project, pool, bridge and image.

Everything carries the name ``coitest-<hex>`` and the process that made it.  It is removed at the end; what
a run left that was killed is removed by the next one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coi_web.errors import IncusConflict, IncusNotFound
from coi_web.incus.client import IncusClient
from coi_web.incus.rest import IncusRest
from coi_web.incus.tiny_image import ensure_tiny_image
from coi_web.incus.types import IncusConfig

PREFIX = "coitest-"
IMAGE = "coi-tiny"
#: Set on everything that is made: the process that made it.
OWNER = "user.coitest.owner"
HTTPS_ADDRESS = "core.https_address"
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class IncusLab:
    """``name`` is the name of the project, the pool and the bridge alike."""

    name: str
    config: IncusConfig
    api: IncusClient

    def devices(self, *, volume: str | None = None, network: bool = False) -> dict[str, dict[str, str]]:
        """A root disk, and what else is asked for."""
        found = {"root": {"type": "disk", "path": "/", "pool": self.name}}
        if network:
            found["eth0"] = {"type": "nic", "network": self.name}
        if volume:
            found["workspace"] = {
                "type": "disk",
                "pool": self.name,
                "source": volume,
                "path": "/workspace",
            }
        return found

    def empty(self) -> None:
        """Removes all instances and volumes, whatever state they are in."""
        rest = IncusRest(self.config)
        try:
            _empty(rest, self.name)
        finally:
            rest.close()


@contextmanager
def incus_lab(endpoint: str | None = None) -> Iterator[IncusLab]:
    """Raises IncusUnavailable without a daemon."""
    config = IncusConfig(endpoint=endpoint or _default_endpoint())
    rest = IncusRest(config)
    try:
        remove_leftovers(rest)
        name = PREFIX + secrets.token_hex(3)
        try:
            _make(rest, name)
            own = replace(config, project=name)
            api = IncusClient(own)
            try:
                ensure_tiny_image(api, IMAGE)
                yield IncusLab(name, own, api)
            finally:
                api.close()
        finally:
            remove(rest, name)
    finally:
        rest.close()


def remove_leftovers(rest: IncusRest) -> list[str]:
    """Removes the labs whose process is gone; returns their names."""
    names = {
        str(thing["name"])
        for kind in ("projects", "storage-pools", "networks")
        for thing in rest.ask("GET", kind, params={"recursion": "1"}, doing=f"list {kind}")
        if str(thing["name"]).startswith(PREFIX) and not _lives((thing.get("config") or {}).get(OWNER, ""))
    }
    for name in sorted(names):
        remove(rest, name)
    config = rest.ask("GET", doing="look at the engine").get("config") or {}
    if OWNER in config and not _lives(str(config[OWNER])):
        body = {"config": {HTTPS_ADDRESS: "", OWNER: ""}}
        rest.change("PATCH", json=body, timeout_s=_TIMEOUT_S, doing="close the engine's network door")
    return sorted(names)


def remove(rest: IncusRest, name: str) -> None:
    """Removes one lab, as much of it as there is."""
    if not name.startswith(PREFIX):
        raise ValueError(f"{name} is not a lab of the tests")
    inside = IncusRest(replace(rest.config, project=name))
    try:
        with suppress(IncusNotFound):
            rest.ask("GET", "projects", name, doing=f"look at project {name}")
            _empty(inside, name)
            for image in inside.ask("GET", "images", params={"recursion": "1"}, doing="list images"):
                _delete(inside, "images", str(image["fingerprint"]))
            _delete(rest, "projects", name)
    finally:
        inside.close()
    for certificate in rest.ask("GET", "certificates", params={"recursion": "1"}, doing="list trust"):
        if certificate.get("name") == name:
            _delete(rest, "certificates", str(certificate["fingerprint"]))
    _delete(rest, "networks", name)
    _delete(rest, "storage-pools", name)


def _make(rest: IncusRest, name: str) -> None:
    owner = {OWNER: this_process()}
    driver = os.environ.get("COI_TEST_POOL_DRIVER", "btrfs")
    pool: dict[str, str] = {"size": "1GiB"} if driver != "dir" else {}
    _post(rest, "storage-pools", {"name": name, "driver": driver, "config": {**pool, **owner}})
    network = {"ipv4.address": _free_address(rest), "ipv4.nat": "true", "ipv6.address": "none"}
    _post(rest, "networks", {"name": name, "type": "bridge", "config": {**network, **owner}})
    features = {f"features.{kind}": "true" for kind in ("images", "profiles", "storage.volumes")}
    _post(rest, "projects", {"name": name, "config": {**features, "features.networks": "false", **owner}})


def _empty(inside: IncusRest, pool: str) -> None:
    for instance in inside.ask("GET", "instances", params={"recursion": "1"}, doing="list instances"):
        name = str(instance["name"])
        with suppress(IncusNotFound, IncusConflict):
            inside.change(
                "PUT",
                "instances",
                name,
                "state",
                json={"action": "stop", "force": True, "timeout": 30},
                timeout_s=_TIMEOUT_S,
                doing=f"stop {name}",
            )
        _delete(inside, "instances", name)
    with suppress(IncusNotFound):
        path = ("storage-pools", pool, "volumes", "custom")
        for volume in inside.ask("GET", *path, params={"recursion": "1"}, doing="list volumes"):
            _delete(inside, *path, str(volume["name"]))


def _free_address(rest: IncusRest) -> str:
    """Not Incus' own "auto": it gives up on machines where a ping to anywhere is answered."""
    networks = rest.ask("GET", "networks", params={"recursion": "1"}, doing="list networks")
    taken = {
        ".".join(str((one.get("config") or {}).get("ipv4.address", "")).split(".")[:3]) for one in networks
    }
    free = [
        subnet
        for second in range(64, 128)
        for third in range(256)
        if (subnet := f"10.{second}.{third}") not in taken
    ]
    return f"{secrets.choice(free)}.1/24"


def _post(rest: IncusRest, kind: str, body: dict[str, Any]) -> None:
    rest.change("POST", kind, json=body, timeout_s=_TIMEOUT_S, doing=f"make {kind} {body['name']}")


def _delete(rest: IncusRest, *path: str) -> None:
    with suppress(IncusNotFound):
        rest.change("DELETE", *path, timeout_s=_TIMEOUT_S, doing=f"remove {path[-1]}")


def _default_endpoint() -> str:
    return os.environ.get("COI_TEST_INCUS_ENDPOINT", IncusConfig().endpoint)


def this_process() -> str:
    """This process, told apart from a later one with the same number."""
    return f"{os.getpid()}-{_started(os.getpid())}"


def _lives(owner: str) -> bool:
    pid, _, started = owner.partition("-")
    return pid.isdigit() and started != "" and _started(int(pid)) == started


def _started(pid: int) -> str:
    """When a process began, in ticks since the boot ("" when it is gone); field 22 of proc(5) stat."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
