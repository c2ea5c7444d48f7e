"""From Incus' JSON to our values; tolerant, because fields come and go between versions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from coi_web.incus.types import (
    NO_REQUESTOR,
    ImageInfo,
    InstanceInfo,
    InstanceStatus,
    LifecycleEvent,
    PoolInfo,
    ServerInfo,
    UsageInfo,
    VolumeInfo,
)

#: https://linuxcontainers.org/incus/docs/main/reference/instance_units/
_UNITS = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "PB": 10**15,
    "EB": 10**18,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "PiB": 2**50,
    "EiB": 2**60,
}
#: Go writes nanoseconds; Python reads microseconds.
_FRACTION = re.compile(r"\.(\d{6})\d+")
_ZERO = datetime(1, 1, 1, tzinfo=UTC)


def moment(text: str | None) -> datetime:
    """Year 1 where Incus has no time, as Incus itself writes it."""
    if not text:
        return _ZERO
    try:
        value = datetime.fromisoformat(_FRACTION.sub(r".\1", text))
    except ValueError:
        return _ZERO
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def size(text: str | None) -> int | None:
    """``10GiB`` in bytes; None for "no size" and for what is not one (such as a percentage)."""
    found = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", text or "")
    if not found or found[2] not in _UNITS:
        return None
    return int(found[1]) * _UNITS[found[2]]


def server(data: Mapping[str, Any]) -> ServerInfo:
    environment = data.get("environment") or {}
    return ServerInfo(
        version=str(environment.get("server_version", "")),
        name=str(environment.get("server_name", "")),
        storage_drivers=tuple(d["Name"] for d in environment.get("storage_supported_drivers") or ()),
        clustered=bool(environment.get("server_clustered")),
        extensions=frozenset(data.get("api_extensions") or ()),
    )


def pool(data: Mapping[str, Any], resources: Mapping[str, Any]) -> PoolInfo:
    space = resources.get("space") or {}
    return PoolInfo(
        name=str(data["name"]),
        driver=str(data["driver"]),
        used_bytes=int(space.get("used") or 0),
        total_bytes=int(space.get("total") or 0),
    )


def status(word: str | None) -> InstanceStatus:
    word = (word or "").lower()
    if word in ("freezing", "thawed"):
        return InstanceStatus.RUNNING
    if word == "aborting":
        return InstanceStatus.STOPPING
    try:
        return InstanceStatus(word)
    except ValueError:
        return InstanceStatus.UNKNOWN


def instance(data: Mapping[str, Any]) -> InstanceInfo:
    config = {str(k): str(v) for k, v in (data.get("expanded_config") or data.get("config") or {}).items()}
    pid = int((data.get("state") or {}).get("pid") or 0)
    return InstanceInfo(
        name=str(data["name"]),
        status=status(data.get("status")),
        config=config,
        devices={
            str(name): {str(k): str(v) for k, v in device.items()}
            for name, device in (data.get("expanded_devices") or data.get("devices") or {}).items()
        },
        image=config.get("volatile.base_image", ""),
        created_at=moment(data.get("created_at")),
        host_pid=pid if pid > 0 else None,
    )


def usage(data: Mapping[str, Any]) -> UsageInfo:
    memory = data.get("memory") or {}
    root = (data.get("disk") or {}).get("root") or {}
    pid = int(data.get("pid") or 0)
    return UsageInfo(
        cpu_s=int((data.get("cpu") or {}).get("usage") or 0) / 1e9,
        memory_bytes=int(memory.get("usage") or 0),
        memory_limit_bytes=int(memory.get("total") or 0) or None,
        disk_bytes=int(root["usage"]) if root.get("usage") else None,
        processes=max(0, int(data.get("processes") or 0)),
        addresses=tuple(_addresses(data.get("network") or {})),
        host_pid=pid if pid > 0 else None,
    )


def _addresses(network: Mapping[str, Any]) -> Iterable[str]:
    for card in network.values():
        for address in card.get("addresses") or ():
            if address.get("scope") == "global":
                yield str(address["address"])


def volume(data: Mapping[str, Any], *, pool: str, state: Mapping[str, Any] | None = None) -> VolumeInfo:
    config = {str(k): str(v) for k, v in (data.get("config") or {}).items()}
    used = ((state or {}).get("usage") or {}).get("used")
    return VolumeInfo(
        name=str(data["name"]),
        pool=pool,
        size_bytes=size(config.get("size")),
        used_by=tuple(_instance_names(data.get("used_by") or ())),
        config=config,
        used_bytes=int(used) if used is not None else None,
    )


def _instance_names(addresses: Iterable[str]) -> Iterable[str]:
    for address in addresses:
        parts = urlsplit(address).path.split("/")
        if len(parts) >= 4 and parts[2] == "instances":
            yield unquote(parts[3])


def image(data: Mapping[str, Any]) -> ImageInfo:
    return ImageInfo(
        fingerprint=str(data["fingerprint"]),
        aliases=tuple(str(a["name"]) for a in data.get("aliases") or ()),
        size_bytes=int(data.get("size") or 0),
        created_at=moment(data.get("created_at")),
        properties={str(k): str(v) for k, v in (data.get("properties") or {}).items()},
    )


def lifecycle(data: Mapping[str, Any]) -> LifecycleEvent | None:
    """None for messages of other kinds and for those that lack what makes them useful."""
    if data.get("type") != "lifecycle":
        return None
    metadata = data.get("metadata") or {}
    action = metadata.get("action")
    if not action:
        return None
    requestor = metadata.get("requestor") or {}
    return LifecycleEvent(
        action=str(action),
        name=_concerned(str(metadata.get("source") or "")) or str(metadata.get("name") or ""),
        project=str(metadata.get("project") or data.get("project") or "default"),
        at=moment(data.get("timestamp")),
        requestor=str(requestor.get("username") or NO_REQUESTOR),
    )


def _concerned(source: str) -> str:
    """The instance or volume an address belongs to, else its last part.

    Not the event's own ``name``: that of a volume has its project in front.
    """
    parts = [unquote(part) for part in urlsplit(source).path.split("/")]
    if len(parts) > 3 and parts[2] == "instances":
        return parts[3]
    if len(parts) > 6 and parts[2] == "storage-pools" and parts[4] == "volumes":
        return parts[6]
    return parts[-1]
