"""What the panel knows about Incus: plain, frozen values without library objects or Incus' own JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

#: Requestor of a lifecycle event that Incus started by itself, such as a container that powered off.
NO_REQUESTOR = ""


class InstanceStatus(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    FROZEN = "frozen"
    STARTING = "starting"
    STOPPING = "stopping"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class IncusConfig:
    """Where the engine is.

    ``endpoint`` is the path of a Unix socket, or an ``https://`` address; the latter needs all three
    certificate files (PEM), because the server is recognised by the fingerprint of ``server_cert``.
    ``timeout_s`` limits every call that names no limit of its own.
    """

    endpoint: str = "/var/lib/incus/unix.socket"
    project: str = "default"
    client_cert: str | None = None
    client_key: str | None = None
    server_cert: str | None = None
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if self.endpoint.startswith("https://"):
            if not (self.client_cert and self.client_key and self.server_cert):
                raise ValueError(
                    "An https endpoint of Incus needs client_cert, client_key and server_cert "
                    "(COI_INCUS_CLIENT_CERT, COI_INCUS_CLIENT_KEY, COI_INCUS_SERVER_CERT)."
                )
        elif not self.endpoint.startswith("/"):
            raise ValueError("The endpoint of Incus is the path of a Unix socket or an https:// address.")
        if self.timeout_s <= 0:
            raise ValueError("The time limit of calls to Incus must be above zero.")

    @property
    def remote(self) -> bool:
        return self.endpoint.startswith("https://")


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """``config`` and ``devices`` are what is in force, with anything a profile contributes.

    ``image`` is the fingerprint of the image it was made from ("" when Incus no longer knows).
    ``host_pid`` is the pid of its init on the host, only filled by ``instances(with_pids=True)``.
    """

    name: str
    status: InstanceStatus
    config: Mapping[str, str]
    devices: Mapping[str, Mapping[str, str]]
    image: str
    created_at: datetime
    host_pid: int | None = None


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """A container to be made. No profile is ever applied: root disk and network card are in ``devices``.

    ``image_alias`` may also be a full fingerprint.
    """

    name: str
    image_alias: str
    config: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """A custom volume. ``used_by`` holds instance names; ``used_bytes`` is only filled by ``volume()``."""

    name: str
    pool: str
    size_bytes: int | None
    used_by: tuple[str, ...]
    config: Mapping[str, str] = field(default_factory=dict)
    used_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ImageInfo:
    fingerprint: str
    aliases: tuple[str, ...]
    size_bytes: int
    created_at: datetime
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    version: str
    name: str
    storage_drivers: tuple[str, ...]
    clustered: bool
    extensions: frozenset[str]


@dataclass(frozen=True, slots=True)
class PoolInfo:
    name: str
    driver: str
    used_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class UsageInfo:
    """Counters of one instance at this moment; zeros while it is stopped.

    ``cpu_s`` counts up since the start. ``memory_limit_bytes`` is the host's memory when there is no limit.
    ``disk_bytes`` is None where the pool cannot tell.
    """

    cpu_s: float
    memory_bytes: int
    memory_limit_bytes: int | None
    disk_bytes: int | None
    processes: int
    addresses: tuple[str, ...]
    host_pid: int | None = None


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """One thing that happened, whoever did it. ``action`` is Incus' own word, such as ``instance-started``.

    ``name`` is the instance, volume or image concerned. ``requestor`` is the user Incus saw, or
    ``NO_REQUESTOR``.
    """

    action: str
    name: str
    project: str
    at: datetime
    requestor: str


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A command on a terminal of its own inside an instance; ``user`` and ``group`` are numeric ids."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    width: int = 80
    height: int = 24
    user: int = 0
    group: int = 0
    cwd: str = "/"


@dataclass(frozen=True, slots=True)
class ExecResult:
    """``truncated``: the command wrote more than was asked for; the rest was read and thrown away."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    truncated: bool


#: Called once the event stream is connected and nothing can be missed any more.
OnConnected = Callable[[], None]
