"""An engine in memory that behaves as Incus does, until it is told to misbehave.

For tests and for looking at the panel on a machine without Incus.  The contract suite runs against this
and against the real daemon, which keeps both alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from coi_web.incus import errors
from coi_web.incus.api import CHANGE_TIMEOUT_S, MAX_OUTPUT_BYTES
from coi_web.incus.fake_engine import FakeCommand, FakeEngine, Instance, now, pid_of
from coi_web.incus.fake_shell import Context, ErrorOutput, Pause, job_for
from coi_web.incus.fake_terminal import FakeTerminal
from coi_web.incus.types import (
    ExecResult,
    ImageInfo,
    InstanceInfo,
    InstanceSpec,
    InstanceStatus,
    PoolInfo,
    ServerInfo,
    UsageInfo,
    VolumeInfo,
)

__all__ = ["FakeCommand", "FakeIncus", "FakeTerminal"]


class FakeIncus(FakeEngine):
    """:class:`IncusApi` and :class:`IncusStreams` in one; any thread and any event loop may use it.

    ``behave`` makes a call slow, silent or failing. ``commands`` replaces commands by name; ``paths`` are
    what ``test -e`` finds. ``emit`` and ``drop_connections`` play the daemon. ``calls`` lists what was
    asked for.
    """

    # -- the engine ---------------------------------------------------------------------------------------

    def server(self) -> ServerInfo:
        with self._call("server", "", "ask the engine for its version"):
            return ServerInfo("6.0.4", "fake", ("btrfs", "dir"), False, frozenset({"projects"}))

    def pool(self, name: str) -> PoolInfo:
        doing = f"look at storage pool {name}"
        with self._call("pool", name, doing):
            return self._found(self._pools, name, doing)

    # -- instances ----------------------------------------------------------------------------------------

    def instances(self, *, with_pids: bool = False) -> tuple[InstanceInfo, ...]:
        with self._call("instances", "", "list the containers"):
            return tuple(
                replace(one.info, host_pid=pid_of(one.info.name) if with_pids and one.alive else None)
                for _, one in sorted(self._instances.items())
            )

    def instance(self, name: str) -> InstanceInfo:
        doing = f"look at {name}"
        with self._call("instance", name, doing):
            return self._instance(name, doing).info

    def create_instance(self, spec: InstanceSpec, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        doing = f"create {spec.name}"
        with self._call("create_instance", spec.name, doing, timeout_s):
            image = self._image_named(spec.image_alias)
            if image is None:
                raise errors.rejected(500, "Image not provided for instance creation", doing=doing)
            if spec.name in self._instances:
                raise errors.rejected(409, "Instance already exists", doing=doing)
            for device in spec.devices.values():
                if device.get("type") == "disk" and "pool" in device:
                    self._found(self._pools, device["pool"], doing)
                    if device.get("source"):
                        self._found(self._volumes, (device["pool"], device["source"]), doing)
            info = InstanceInfo(
                spec.name,
                InstanceStatus.STOPPED,
                {**spec.config, "volatile.base_image": image.fingerprint},
                {name: dict(device) for name, device in spec.devices.items()},
                image.fingerprint,
                now(),
            )
            self._instances[spec.name] = Instance(info)
            self.emit("instance-created", spec.name)

    def start_instance(self, name: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        doing = f"start {name}"
        with self._call("start_instance", name, doing, timeout_s):
            if self._instance(name, doing).alive:
                raise errors.rejected(400, "The instance is already running", doing=doing)
            self._set_status(name, InstanceStatus.RUNNING, "instance-started")

    def stop_instance(self, name: str, *, force: bool = False, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        doing = f"stop {name}"
        with self._call("stop_instance", name, doing, timeout_s):
            instance = self._instance(name, doing)
            if not instance.alive:
                raise errors.rejected(400, "The instance is already stopped", doing=doing)
            if instance.info.status is InstanceStatus.FROZEN and not force:
                raise errors.rejected(400, "Instance is frozen", doing=doing)
            self._set_status(
                name, InstanceStatus.STOPPED, "instance-stopped" if force else "instance-shutdown"
            )

    def freeze_instance(self, name: str) -> None:
        doing = f"freeze {name}"
        with self._call("freeze_instance", name, doing):
            instance = self._instance(name, doing)
            if not instance.alive:
                raise errors.rejected(400, "The instance isn't running", doing=doing)
            if instance.info.status is InstanceStatus.FROZEN:
                raise errors.rejected(400, "The container is already frozen", doing=doing)
            self._set_status(name, InstanceStatus.FROZEN, "instance-paused")

    def unfreeze_instance(self, name: str) -> None:
        doing = f"unfreeze {name}"
        with self._call("unfreeze_instance", name, doing):
            instance = self._instance(name, doing)
            if not instance.alive:
                raise errors.rejected(400, "The container isn't running", doing=doing)
            if instance.info.status is not InstanceStatus.FROZEN:
                raise errors.rejected(400, "The container is already running", doing=doing)
            self._set_status(name, InstanceStatus.RUNNING, "instance-resumed")

    def delete_instance(self, name: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        doing = f"delete {name}"
        with self._call("delete_instance", name, doing, timeout_s):
            if self._instance(name, doing).alive:
                raise errors.rejected(400, "Instance is running", doing=doing)
            self._remove(name)

    def update_config(self, name: str, config: Mapping[str, str | None]) -> None:
        doing = f"change the settings of {name}"
        with self._call("update_config", name, doing):
            instance = self._instance(name, doing)
            merged = {**instance.info.config, **config}
            kept = {key: value for key, value in merged.items() if value}
            instance.info = replace(instance.info, config=kept)
            self.emit("instance-updated", name)

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
        doing = f"run a command in {name}"
        with self._call("run", name, doing, timeout_s):
            self._awake(name, doing)
            self.emit("instance-exec", name)
        stand_in = self.commands.get(command[0].rsplit("/", 1)[-1])
        if stand_in is not None:
            return stand_in(tuple(command), stdin)
        context = Context(name, dict(environment or {}), user, cwd, paths=self.paths)
        output: dict[bool, bytearray] = {False: bytearray(), True: bytearray()}
        truncated, rested, given = False, 0.0, None
        job = job_for(tuple(command), context)
        try:
            while True:
                step = job.send(given)
                given = None
                if isinstance(step, bytes):
                    kept = output[isinstance(step, ErrorOutput)]
                    room = max_output_bytes - len(kept)
                    truncated = truncated or len(step) > room
                    kept += step[: max(0, room)]
                elif isinstance(step, Pause):
                    rested += step.seconds
                    if rested > timeout_s:
                        raise errors.timed_out(timeout_s, doing=doing)
                else:
                    given, stdin = stdin, b""
        except StopIteration as end:
            return ExecResult(int(end.value), bytes(output[False]), bytes(output[True]), truncated)

    def usage(self, name: str) -> UsageInfo:
        doing = f"measure {name}"
        with self._call("usage", name, doing):
            instance = self._instance(name, doing)
            if not instance.alive:
                return UsageInfo(0.0, 0, None, None, 0, ())
            return self._usage.get(name) or UsageInfo(
                1.5, 64 << 20, None, 10 << 20, 3, ("10.0.0.2",), pid_of(name)
            )

    # -- volumes ------------------------------------------------------------------------------------------

    def volumes(self, pool: str) -> tuple[VolumeInfo, ...]:
        doing = f"list the volumes of pool {pool}"
        with self._call("volumes", pool, doing):
            self._found(self._pools, pool, doing)
            return tuple(
                replace(self._with_users(one), used_bytes=None)
                for key, one in sorted(self._volumes.items())
                if key[0] == pool
            )

    def volume(self, pool: str, name: str) -> VolumeInfo:
        doing = f"look at volume {name}"
        with self._call("volume", name, doing):
            return self._with_users(self._found(self._volumes, (pool, name), doing))

    def create_volume(
        self, pool: str, name: str, *, size_bytes: int | None = None, config: Mapping[str, str] | None = None
    ) -> None:
        doing = f"create volume {name}"
        with self._call("create_volume", name, doing):
            self._found(self._pools, pool, doing)
            if (pool, name) in self._volumes:
                raise errors.rejected(409, "Volume by that name already exists", doing=doing)
            size = {} if size_bytes is None else {"size": str(size_bytes)}
            self._volumes[pool, name] = VolumeInfo(name, pool, size_bytes, (), {**(config or {}), **size}, 0)
            self.emit("storage-volume-created", name)

    def delete_volume(self, pool: str, name: str) -> None:
        doing = f"delete volume {name}"
        with self._call("delete_volume", name, doing):
            if self._with_users(self._found(self._volumes, (pool, name), doing)).used_by:
                raise errors.rejected(400, "The storage volume is still in use", doing=doing)
            del self._volumes[pool, name]
            self.emit("storage-volume-deleted", name)

    # -- images -------------------------------------------------------------------------------------------

    def images(self) -> tuple[ImageInfo, ...]:
        with self._call("images", "", "list the images"):
            return tuple(self._images.values())

    def image(self, alias: str) -> ImageInfo:
        doing = f"look at image {alias}"
        with self._call("image", alias, doing):
            image = self._image_named(alias)
            if image is None or alias not in image.aliases:
                raise errors.rejected(404, "Image alias not found", doing=doing)
            return image

    def import_image(self, tarball: Path, alias: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> ImageInfo:
        doing = f"import image {alias}"
        with self._call("import_image", alias, doing, timeout_s):
            content = tarball.read_bytes()
            fingerprint = hashlib.sha256(content).hexdigest()
            for key, image in list(self._images.items()):
                others = tuple(one for one in image.aliases if one != alias)
                self._images[key] = replace(image, aliases=others)
            known = self._images.get(fingerprint)
            aliases = (*(known.aliases if known else ()), alias)
            created = known.created_at if known else now()
            self._images[fingerprint] = ImageInfo(fingerprint, aliases, len(content), created, {})
            return self._images[fingerprint]
