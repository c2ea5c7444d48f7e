"""The calls of :class:`IncusApi`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from coi_web.errors import IncusConflict, IncusError, IncusNotFound
from coi_web.incus import errors, parse
from coi_web.incus.api import CHANGE_TIMEOUT_S, MAX_OUTPUT_BYTES
from coi_web.incus.rest import MARGIN_S, IncusRest
from coi_web.incus.run import run_command
from coi_web.incus.types import (
    ExecResult,
    ImageInfo,
    IncusConfig,
    InstanceInfo,
    InstanceSpec,
    InstanceStatus,
    PoolInfo,
    ServerInfo,
    UsageInfo,
    VolumeInfo,
)

log = logging.getLogger(__name__)


class IncusClient:
    """One per process; connects at the first call. See :class:`coi_web.incus.api.IncusApi`."""

    def __init__(self, config: IncusConfig) -> None:
        self._config = config
        self._rest = IncusRest(config)

    def close(self) -> None:
        """Gives the connections back; the next call connects anew."""
        self._rest.close()

    def server(self) -> ServerInfo:
        return parse.server(self._rest.ask("GET", doing="ask the engine for its version"))

    def pool(self, name: str) -> PoolInfo:
        doing = f"look at storage pool {name}"
        return parse.pool(
            self._rest.ask("GET", "storage-pools", name, doing=doing),
            self._rest.ask("GET", "storage-pools", name, "resources", doing=doing),
        )

    # -- instances ----------------------------------------------------------------------------------------

    def instances(self, *, with_pids: bool = False) -> tuple[InstanceInfo, ...]:
        params = {"recursion": "2" if with_pids else "1"}
        found = self._rest.ask("GET", "instances", params=params, doing="list the containers")
        return tuple(parse.instance(one) for one in found or ())

    def instance(self, name: str) -> InstanceInfo:
        return parse.instance(self._rest.ask("GET", "instances", name, doing=f"look at {name}"))

    def create_instance(self, spec: InstanceSpec, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        by_fingerprint = len(spec.image_alias) == 64
        self._rest.change(
            "POST",
            "instances",
            json={
                "name": spec.name,
                "type": "container",
                "source": {
                    "type": "image",
                    "fingerprint" if by_fingerprint else "alias": spec.image_alias,
                },
                "profiles": [],
                "config": dict(spec.config),
                "devices": {name: dict(device) for name, device in spec.devices.items()},
            },
            timeout_s=timeout_s,
            doing=f"create {spec.name}",
        )

    def start_instance(self, name: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        self._set_state(name, "start", timeout_s=timeout_s)

    def stop_instance(self, name: str, *, force: bool = False, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        if not force and self.instance(name).status is InstanceStatus.FROZEN:
            # Incus would wait in vain, and afterwards call the frozen instance running.
            raise errors.rejected(400, "Instance is frozen", doing=f"stop {name}")
        self._set_state(name, "stop", force=force, timeout_s=timeout_s)

    def freeze_instance(self, name: str) -> None:
        self._set_state(name, "freeze", timeout_s=self._config.timeout_s)

    def unfreeze_instance(self, name: str) -> None:
        self._set_state(name, "unfreeze", timeout_s=self._config.timeout_s)

    def delete_instance(self, name: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        self._rest.change("DELETE", "instances", name, timeout_s=timeout_s, doing=f"delete {name}")

    def update_config(self, name: str, config: Mapping[str, str | None]) -> None:
        # A PATCH merges, and Incus drops keys that are empty after it.
        self._rest.change(
            "PATCH",
            "instances",
            name,
            json={"config": {key: value or "" for key, value in config.items()}},
            timeout_s=self._config.timeout_s,
            doing=f"change the settings of {name}",
        )

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
        return asyncio.run(
            run_command(
                self._config,
                name,
                tuple(command),
                user=user,
                group=user if group is None else group,
                environment=environment or {},
                cwd=cwd,
                stdin=stdin,
                timeout_s=timeout_s,
                max_output_bytes=max_output_bytes,
            )
        )

    def usage(self, name: str) -> UsageInfo:
        return parse.usage(self._rest.ask("GET", "instances", name, "state", doing=f"measure {name}"))

    def _set_state(self, name: str, action: str, *, force: bool = False, timeout_s: float) -> None:
        self._rest.change(
            "PUT",
            "instances",
            name,
            "state",
            # Incus' own limit counts whole seconds and -1 would mean for ever.
            json={"action": action, "force": force, "timeout": max(1, int(timeout_s))},
            # A stop that is refused after Incus' limit arrives as its own error, not as ours.
            timeout_s=timeout_s + (MARGIN_S if action == "stop" and not force else 0),
            doing=f"{action} {name}",
        )

    # -- volumes ------------------------------------------------------------------------------------------

    def volumes(self, pool: str) -> tuple[VolumeInfo, ...]:
        found = self._rest.ask(
            "GET",
            "storage-pools",
            pool,
            "volumes",
            "custom",
            params={"recursion": "1"},
            doing=f"list the volumes of pool {pool}",
        )
        return tuple(parse.volume(one, pool=pool) for one in found or ())

    def volume(self, pool: str, name: str) -> VolumeInfo:
        path = ("storage-pools", pool, "volumes", "custom", name)
        doing = f"look at volume {name}"
        data = self._rest.ask("GET", *path, doing=doing)
        try:
            state = self._rest.ask("GET", *path, "state", doing=doing)
        except IncusNotFound:
            raise
        except IncusError as error:
            # Not every driver can tell; the rest is still worth having.
            log.debug("no state of volume %s: %s", name, error.log_detail)
            state = None
        return parse.volume(data, pool=pool, state=state)

    def create_volume(
        self, pool: str, name: str, *, size_bytes: int | None = None, config: Mapping[str, str] | None = None
    ) -> None:
        settings = dict(config or {})
        if size_bytes is not None:
            settings["size"] = str(size_bytes)
        self._rest.change(
            "POST",
            "storage-pools",
            pool,
            "volumes",
            "custom",
            json={"name": name, "type": "custom", "content_type": "filesystem", "config": settings},
            timeout_s=CHANGE_TIMEOUT_S,
            doing=f"create volume {name}",
        )

    def delete_volume(self, pool: str, name: str) -> None:
        self._rest.change(
            "DELETE",
            "storage-pools",
            pool,
            "volumes",
            "custom",
            name,
            timeout_s=CHANGE_TIMEOUT_S,
            doing=f"delete volume {name}",
        )

    # -- images -------------------------------------------------------------------------------------------

    def images(self) -> tuple[ImageInfo, ...]:
        found = self._rest.ask("GET", "images", params={"recursion": "1"}, doing="list the images")
        return tuple(parse.image(one) for one in found or ())

    def image(self, alias: str) -> ImageInfo:
        doing = f"look at image {alias}"
        target = self._rest.ask("GET", "images", "aliases", alias, doing=doing)["target"]
        return parse.image(self._rest.ask("GET", "images", target, doing=doing))

    def import_image(self, tarball: Path, alias: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> ImageInfo:
        doing = f"import image {alias}"
        fingerprint = _sha256(tarball)
        try:
            with tarball.open("rb") as source:
                self._rest.change(
                    "POST",
                    "images",
                    data=source,
                    headers={"X-Incus-public": "0", "Content-Type": "application/octet-stream"},
                    timeout_s=timeout_s,
                    doing=doing,
                )
        except IncusConflict as conflict:
            # The same bytes are there already: only the alias may be missing.
            if conflict.code != "already-exists":
                raise
        body = {"name": alias, "target": fingerprint}
        try:
            self._rest.change("POST", "images", "aliases", json=body, timeout_s=timeout_s, doing=doing)
        except IncusConflict:
            self._rest.change("PUT", "images", "aliases", alias, json=body, timeout_s=timeout_s, doing=doing)
        return self.image(alias)


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
