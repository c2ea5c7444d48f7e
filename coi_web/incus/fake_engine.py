"""The inside of the fake engine: what exists in it, its events and streams, and the switches for tests."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar
from weakref import WeakSet

from coi_web.errors import IncusError
from coi_web.incus import errors
from coi_web.incus.fake_behaviour import Behaviour, Misbehaviour, failure
from coi_web.incus.fake_terminal import FakeTerminal
from coi_web.incus.types import (
    ExecRequest,
    ExecResult,
    ImageInfo,
    InstanceInfo,
    InstanceStatus,
    LifecycleEvent,
    OnConnected,
    PoolInfo,
    UsageInfo,
    VolumeInfo,
)

#: The limit of calls that have none of their own, in seconds.
TIMEOUT_S = 30.0
_KILLED = 137
_GIB = 1 << 30
_PATHS = frozenset({"/", "/bin/sh", "/tmp", "/root", "/home/code", "/workspace"})  # noqa: S108

Key = TypeVar("Key")
Value = TypeVar("Value")
#: Stands in for a command in a fake container: gets its arguments and its standard input.
FakeCommand = Callable[[tuple[str, ...], bytes], ExecResult]


@dataclass(slots=True)
class Instance:
    info: InstanceInfo
    terminals: WeakSet[FakeTerminal] = field(default_factory=WeakSet)

    @property
    def alive(self) -> bool:
        return self.info.status in (InstanceStatus.RUNNING, InstanceStatus.FROZEN)


class _Subscriber:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.waiting: deque[LifecycleEvent] = deque(maxlen=10_000)
        self.wake = asyncio.Event()
        self.lost = False

    def poke(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.wake.set)


class FakeEngine:
    """State under one lock, and how it is played with."""

    def __init__(
        self,
        *,
        project: str = "default",
        images: Sequence[str] = ("coi-default", "coi-tiny"),
        pools: Sequence[str] = ("coi-web", "default"),
    ) -> None:
        self.project = project
        self.commands: dict[str, FakeCommand] = {}
        self.paths = _PATHS
        self._lock = threading.RLock()
        self._misbehaviour = Misbehaviour()
        self._instances: dict[str, Instance] = {}
        self._volumes: dict[tuple[str, str], VolumeInfo] = {}
        self._images: dict[str, ImageInfo] = {}
        self._pools: dict[str, PoolInfo] = {}
        self._usage: dict[str, UsageInfo] = {}
        self._subscribers: set[_Subscriber] = set()
        for alias in images:
            self.add_image(alias)
        for pool in pools:
            self.add_pool(pool)

    # -- for tests ----------------------------------------------------------------------------------------

    def behave(
        self,
        call: str,
        *,
        slow_s: float = 0.0,
        never: bool = False,
        fails: IncusError | type[IncusError] | None = None,
        fails_late: bool = False,
        vanishes: bool = False,
        times: int | None = None,
    ) -> None:
        """Makes ``call`` (the method's name) misbehave, for the next ``times`` calls or until told otherwise.

        ``slow_s``: takes that long, within the call's own limit. ``never``: no answer, IncusTimedOut after
        a moment. ``fails``: refused before anything changed. ``fails_late``: it happens, then the call
        fails (with ``fails``, else IncusTimedOut). ``vanishes``: somebody deletes the instance meanwhile.
        """
        self._misbehaviour.set(call, Behaviour(slow_s, never, fails, fails_late, vanishes, times))

    def behave_well(self, call: str | None = None) -> None:
        """Ends misbehaviour of one call, or of all; whoever waits goes on at once."""
        self._misbehaviour.clear(call)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """(method, target) of every call so far."""
        return self._misbehaviour.calls

    def add_image(self, alias: str, properties: Mapping[str, str] | None = None) -> ImageInfo:
        fingerprint = hashlib.sha256(alias.encode()).hexdigest()
        image = ImageInfo(fingerprint, (alias,), 1 << 20, now(), dict(properties or {}))
        self._images[fingerprint] = image
        return image

    def add_pool(self, name: str, *, used_bytes: int = 0, total_bytes: int = 100 * _GIB) -> None:
        self._pools[name] = PoolInfo(name, "btrfs", used_bytes, total_bytes)

    def set_usage(self, name: str, usage: UsageInfo) -> None:
        """What ``usage`` says of a running instance from now on."""
        self._usage[name] = usage

    def terminals(self, name: str) -> list[FakeTerminal]:
        """The open terminals of an instance."""
        with self._lock:
            return [one for one in self._instances[name].terminals if one.alive]

    def emit(self, action: str, name: str, *, requestor: str = "root") -> None:
        """Tells all event streams, from any thread."""
        event = LifecycleEvent(action, name, self.project, now(), requestor)
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.waiting.append(event)
                subscriber.poke()

    def drop_connections(self) -> None:
        """Breaks all terminals and event streams, as a restarting daemon does."""
        with self._lock:
            for subscriber in self._subscribers:
                subscriber.lost = True
                subscriber.poke()
            for instance in self._instances.values():
                for terminal in list(instance.terminals):
                    terminal.end(None)

    # -- streams ------------------------------------------------------------------------------------------

    async def open_exec(self, name: str, request: ExecRequest) -> FakeTerminal:
        doing = f"run a command in {name}"
        behaviour = self._misbehaviour.take("open_exec", name)
        if behaviour is not None:
            await self._misbehaviour.wait_on_loop(behaviour, TIMEOUT_S, doing=doing)
            if behaviour.vanishes:
                self._vanish(name)
        with self._lock:
            instance = self._awake(name, doing)
            terminal = FakeTerminal(
                request,
                hostname=name,
                paths=self.paths,
                is_frozen=lambda: instance.info.status is InstanceStatus.FROZEN,
            )
            instance.terminals.add(terminal)
            self.emit("instance-exec", name)
        if behaviour is not None and behaviour.fails_late:
            await terminal.aclose()
            raise failure(behaviour, TIMEOUT_S, doing=doing)
        return terminal

    async def events(
        self, *, on_connected: OnConnected | None = None
    ) -> AsyncGenerator[LifecycleEvent, None]:
        doing = "follow what happens on the engine"
        behaviour = self._misbehaviour.take("events", "")
        if behaviour is not None:
            await self._misbehaviour.wait_on_loop(behaviour, TIMEOUT_S, doing=doing)
        subscriber = _Subscriber()
        with self._lock:
            self._subscribers.add(subscriber)
        try:
            if on_connected is not None:
                on_connected()
            while not subscriber.lost:
                while subscriber.waiting:
                    yield subscriber.waiting.popleft()
                await subscriber.wake.wait()
                subscriber.wake.clear()
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)
        raise errors.unavailable("the event socket was closed", doing=doing)

    async def aclose(self) -> None:
        """Ends what was opened on this loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            for subscriber in self._subscribers:
                if subscriber.loop is loop:
                    subscriber.lost = True
                    subscriber.poke()
            terminals = [t for one in self._instances.values() for t in one.terminals if t.belongs_to(loop)]
        for terminal in terminals:
            await terminal.aclose()

    # -- the machinery ------------------------------------------------------------------------------------

    @contextmanager
    def _call(self, call: str, target: str, doing: str, timeout_s: float = TIMEOUT_S) -> Iterator[None]:
        behaviour = self._misbehaviour.take(call, target)
        if behaviour is not None:
            self._misbehaviour.wait(behaviour, timeout_s, doing=doing)
        with self._lock:
            if behaviour is not None and behaviour.vanishes:
                self._vanish(target)
            yield
        if behaviour is not None and behaviour.fails_late:
            raise failure(behaviour, timeout_s, doing=doing)

    def _found(self, things: Mapping[Key, Value], key: Key, doing: str) -> Value:
        if key not in things:
            raise errors.rejected(404, f"{key} not found", doing=doing)
        return things[key]

    def _instance(self, name: str, doing: str) -> Instance:
        return self._found(self._instances, name, doing)

    def _awake(self, name: str, doing: str) -> Instance:
        """The instance, if commands can be run in it."""
        instance = self._instance(name, doing)
        if instance.info.status is InstanceStatus.FROZEN:
            raise errors.rejected(400, "Instance is frozen", doing=doing)
        if not instance.alive:
            raise errors.rejected(400, "Instance is not running", doing=doing)
        return instance

    def _set_status(self, name: str, status: InstanceStatus, action: str) -> None:
        instance = self._instances[name]
        instance.info = replace(instance.info, status=status)
        for terminal in list(instance.terminals):
            if instance.alive:
                terminal.poke()
            elif terminal.alive:
                terminal.end(_KILLED)
        self.emit(action, name)

    def _remove(self, name: str) -> None:
        del self._instances[name]
        self._usage.pop(name, None)
        self.emit("instance-deleted", name)

    def _vanish(self, name: str) -> None:
        if name in self._instances:
            if self._instances[name].alive:
                self._set_status(name, InstanceStatus.STOPPED, "instance-stopped")
            self._remove(name)

    def _image_named(self, alias: str) -> ImageInfo | None:
        for image in self._images.values():
            if alias in (*image.aliases, image.fingerprint):
                return image
        return None

    def _with_users(self, volume: VolumeInfo) -> VolumeInfo:
        users = (
            name
            for name, one in sorted(self._instances.items())
            for device in one.info.devices.values()
            if device.get("pool") == volume.pool and device.get("source") == volume.name
        )
        return replace(volume, used_by=tuple(users))


def now() -> datetime:
    return datetime.now(UTC)


def pid_of(name: str) -> int:
    """A pid on the pretended host that stays the same for a name."""
    return 1000 + int(hashlib.sha256(name.encode()).hexdigest()[:4], 16)
