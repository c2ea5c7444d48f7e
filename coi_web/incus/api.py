"""The two interfaces of the engine: calls for services and workers, streams for the event loop.

Both raise only the Incus errors of :mod:`coi_web.errors`, plus ``ValueError`` for arguments that can
never be right.  Nothing here retries: a caller that repeats a change looks at the instance first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from coi_web.incus.types import (
    ExecRequest,
    ExecResult,
    ImageInfo,
    InstanceInfo,
    InstanceSpec,
    LifecycleEvent,
    OnConnected,
    PoolInfo,
    ServerInfo,
    UsageInfo,
    VolumeInfo,
)

#: How long creating, starting, stopping and deleting may take unless the caller says otherwise, in seconds.
CHANGE_TIMEOUT_S = 120.0
#: Output of ``run`` that is kept unless the caller says otherwise.
MAX_OUTPUT_BYTES = 1 << 20


@runtime_checkable
class IncusApi(Protocol):
    """Blocking and thread safe. Never call it from an event loop or inside a database transaction.

    ``timeout_s`` limits the whole call; ``IncusTimedOut`` says that Incus may still finish the work.
    """

    def server(self) -> ServerInfo: ...

    def pool(self, name: str) -> PoolInfo: ...

    def instances(self, *, with_pids: bool = False) -> tuple[InstanceInfo, ...]:
        """All instances of the project, whoever made them. ``with_pids`` costs a few ms per instance."""
        ...

    def instance(self, name: str) -> InstanceInfo:
        """Raises IncusNotFound."""
        ...

    def create_instance(self, spec: InstanceSpec, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Leaves it stopped. Raises IncusConflict when the name is taken, IncusNotFound without the image."""
        ...

    def start_instance(self, name: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Raises IncusConflict with code ``already-running``."""
        ...

    def stop_instance(self, name: str, *, force: bool = False, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Without ``force`` the init is asked and has ``timeout_s`` to obey, else IncusTimedOut.

        Raises IncusConflict with code ``already-stopped``. A frozen instance is stopped by ``force`` only
        (else InstanceFrozen).
        """
        ...

    def freeze_instance(self, name: str) -> None:
        """Memory and quota stay in use. Raises IncusConflict unless it runs."""
        ...

    def unfreeze_instance(self, name: str) -> None:
        """Raises IncusConflict unless it is frozen."""
        ...

    def delete_instance(self, name: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        """Raises IncusConflict with code ``still-running``; stop it first."""
        ...

    def update_config(self, name: str, config: Mapping[str, str | None]) -> None:
        """Sets the given keys and removes those whose value is None; others stay. Safe to repeat."""
        ...

    def run(
        self,
        name: str,
        command: Sequence[str],
        *,
        user: int = 0,
        group: int | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: bytes = b"",
        timeout_s: float = 30.0,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
    ) -> ExecResult:
        """Runs to its end without a terminal. ``group`` is ``user`` unless given.

        ``max_output_bytes`` limits stdout and stderr each. At the time limit the command is killed and
        IncusTimedOut raised. A command that does not exist ends with 127. Raises InstanceFrozen, and
        IncusConflict with code ``not-running``.
        """
        ...

    def usage(self, name: str) -> UsageInfo: ...

    def volumes(self, pool: str) -> tuple[VolumeInfo, ...]:
        """Custom volumes only, without ``used_bytes``."""
        ...

    def volume(self, pool: str, name: str) -> VolumeInfo:
        """Raises IncusNotFound."""
        ...

    def create_volume(
        self, pool: str, name: str, *, size_bytes: int | None = None, config: Mapping[str, str] | None = None
    ) -> None:
        """Raises IncusConflict when the name is taken."""
        ...

    def delete_volume(self, pool: str, name: str) -> None:
        """Raises IncusConflict with code ``in-use`` while an instance has it."""
        ...

    def images(self) -> tuple[ImageInfo, ...]: ...

    def image(self, alias: str) -> ImageInfo:
        """By alias. Raises IncusNotFound."""
        ...

    def import_image(self, tarball: Path, alias: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> ImageInfo:
        """Imports a unified image tarball and points ``alias`` at it. Safe to repeat.

        An alias that points elsewhere is moved. A new image belongs to the project alone (not public).
        """
        ...


@runtime_checkable
class ExecStream(Protocol):
    """A command on a terminal. One task reads, any task may write.

    Bytes pass unchanged and frame by frame; a caller that does not read makes the command wait.
    """

    async def read(self) -> bytes:
        """The next frame; ``b""`` when it is over, again at every later call. Has no time limit."""
        ...

    async def write(self, data: bytes) -> None:
        """Waits while the command does not take its input. Raises IncusUnavailable once it is over."""
        ...

    async def resize(self, cols: int, rows: int) -> None:
        """Without effect once it is over."""
        ...

    async def exit_code(self) -> int | None:
        """After ``read`` returned ``b""``: how it ended. None when the connection broke before, or when
        the container was stopped under it.
        """
        ...

    async def aclose(self) -> None:
        """Hangs up the command, kills it when it does not listen, closes both sockets. Safe to repeat.

        A read that waits in another task returns ``b""``. What the command left in the background, such
        as a tmux server, lives on. Takes at most about a second.
        """
        ...


@runtime_checkable
class IncusStreams(Protocol):
    """For one event loop; belongs to the loop it was first used on."""

    async def open_exec(self, name: str, request: ExecRequest) -> ExecStream:
        """Raises IncusNotFound, InstanceFrozen, IncusConflict with code ``not-running``."""
        ...

    def events(self, *, on_connected: OnConnected | None = None) -> AsyncGenerator[LifecycleEvent, None]:
        """What happens in the project from now on.

        ``on_connected`` is called when nothing can be missed any more: the moment to list everything.
        Ends only by raising IncusUnavailable when the connection is lost; connecting again, and listing
        again, is the caller's. Close the iterator (``aclosing``) when leaving early.
        """
        ...

    async def aclose(self) -> None:
        """Ends all streams. Safe to repeat."""
        ...
