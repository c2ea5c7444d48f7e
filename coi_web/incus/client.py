"""The calls of :class:`IncusApi`, on pylxd's REST tree.

pylxd's models are not used: their ``wait=True`` has no time limit, they warn about every attribute that
LXD does not have, and their exec polls.  Operations are waited for in slices here.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Read when pylxd is imported: it must not warn about what Incus has and LXD has not.
os.environ.setdefault("PYLXD_WARNINGS", "none")

import pylxd
import pylxd.exceptions
import requests

from coi_web.errors import IncusConflict, IncusError, IncusNotFound
from coi_web.incus import errors, parse
from coi_web.incus.api import CHANGE_TIMEOUT_S, MAX_OUTPUT_BYTES
from coi_web.incus.run import run_command
from coi_web.incus.session import endpoint_address, new_session
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

#: Longest single wait for an operation: a daemon that died is noticed after this and the read margin.
SLICE_S = 10.0
#: What an answer may take beyond the time that Incus was asked to wait.
MARGIN_S = 5.0


class IncusClient:
    """One per process; connects at the first call. See :class:`coi_web.incus.api.IncusApi`."""

    def __init__(self, config: IncusConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._client: pylxd.Client | None = None
        self._pid = 0

    def server(self) -> ServerInfo:
        return parse.server(self._ask("GET", doing="ask the engine for its version"))

    def pool(self, name: str) -> PoolInfo:
        doing = f"look at storage pool {name}"
        return parse.pool(
            self._ask("GET", "storage-pools", name, doing=doing),
            self._ask("GET", "storage-pools", name, "resources", doing=doing),
        )

    # -- instances ----------------------------------------------------------------------------------------

    def instances(self, *, with_pids: bool = False) -> tuple[InstanceInfo, ...]:
        params = {"recursion": "2" if with_pids else "1"}
        found = self._ask("GET", "instances", params=params, doing="list the containers")
        return tuple(parse.instance(one) for one in found or ())

    def instance(self, name: str) -> InstanceInfo:
        return parse.instance(self._ask("GET", "instances", name, doing=f"look at {name}"))

    def create_instance(self, spec: InstanceSpec, *, timeout_s: float = CHANGE_TIMEOUT_S) -> None:
        by_fingerprint = len(spec.image_alias) == 64
        self._change(
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
        self._change("DELETE", "instances", name, timeout_s=timeout_s, doing=f"delete {name}")

    def update_config(self, name: str, config: Mapping[str, str | None]) -> None:
        # A PATCH merges, and Incus drops keys that are empty after it.
        self._change(
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
        return parse.usage(self._ask("GET", "instances", name, "state", doing=f"measure {name}"))

    def _set_state(self, name: str, action: str, *, force: bool = False, timeout_s: float) -> None:
        self._change(
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
        found = self._ask(
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
        data = self._ask("GET", *path, doing=doing)
        try:
            state = self._ask("GET", *path, "state", doing=doing)
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
        self._change(
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
        self._change(
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
        found = self._ask("GET", "images", params={"recursion": "1"}, doing="list the images")
        return tuple(parse.image(one) for one in found or ())

    def image(self, alias: str) -> ImageInfo:
        doing = f"look at image {alias}"
        target = self._ask("GET", "images", "aliases", alias, doing=doing)["target"]
        return parse.image(self._ask("GET", "images", target, doing=doing))

    def import_image(self, tarball: Path, alias: str, *, timeout_s: float = CHANGE_TIMEOUT_S) -> ImageInfo:
        doing = f"import image {alias}"
        fingerprint = _sha256(tarball)
        try:
            with tarball.open("rb") as source:
                self._change(
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
            self._change("POST", "images", "aliases", json=body, timeout_s=timeout_s, doing=doing)
        except IncusConflict:
            self._change("PUT", "images", "aliases", alias, json=body, timeout_s=timeout_s, doing=doing)
        return self.image(alias)

    # -- plumbing -----------------------------------------------------------------------------------------

    def _ask(self, method: str, *path: str, doing: str, **request: Any) -> Any:
        """One request that answers at once: its metadata."""
        return self._request(method, path, self._config.timeout_s, doing, request).get("metadata")

    def _change(self, method: str, *path: str, timeout_s: float, doing: str, **request: Any) -> Any:
        """One request, and the operation it starts until its end. Returns the operation's own metadata."""
        deadline = time.monotonic() + timeout_s
        answer = self._request(method, path, timeout_s, doing, request)
        if answer.get("type") != "async":
            return answer.get("metadata")
        identifier = str(answer["metadata"]["id"])
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise errors.timed_out(timeout_s, doing=doing)
            part = min(left, SLICE_S)
            operation = self._request(
                "GET",
                ("operations", identifier, "wait"),
                part + MARGIN_S,
                doing,
                {"params": {"timeout": str(max(1, round(part)))}},
            )["metadata"]
            code = int(operation.get("status_code") or 0)
            # https://linuxcontainers.org/incus/docs/main/rest-api/#list-of-current-status-codes
            if code == 200:
                return operation.get("metadata")
            if code >= 400:
                raise errors.rejected(code, str(operation.get("err") or "cancelled"), doing=doing)

    def _request(
        self, method: str, path: tuple[str, ...], timeout_s: float, doing: str, request: dict[str, Any]
    ) -> dict[str, Any]:
        try:
            node = self._connected(doing).api
            for part in path:
                node = node[quote(part, safe="")]
            response = getattr(node, method.lower())(timeout=timeout_s, **request)
            answer: dict[str, Any] = response.json()
            return answer
        except pylxd.exceptions.LXDAPIException as error:
            status, text = _refusal(error.response)
            raise errors.rejected(status, text, doing=doing) from None
        except requests.exceptions.Timeout:
            raise errors.timed_out(timeout_s, doing=doing) from None
        except (requests.exceptions.RequestException, pylxd.exceptions.ClientConnectionFailed) as error:
            raise errors.unavailable(error, doing=doing) from error
        except (OSError, ValueError) as error:
            raise errors.unavailable(error, doing=doing) from error

    def _connected(self, doing: str) -> pylxd.Client:
        """The client of this process; a forked child makes its own, since sockets cannot be shared."""
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client = pylxd.Client(
                    endpoint=endpoint_address(self._config),
                    timeout=self._config.timeout_s,
                    project=self._config.project,
                    session=new_session(self._config),
                )
                self._pid = os.getpid()
            return self._client

    def close(self) -> None:
        """Gives the connections back; the next call connects anew."""
        with self._lock:
            if self._client is not None and self._pid == os.getpid():
                self._client.api.session.close()
            self._client = None


def _refusal(response: requests.Response) -> tuple[int, str]:
    """Incus' status and error text alone: the rest of an answer may hold operation metadata.

    A failed operation is answered with HTTP 200 and its real status in the body.
    """
    try:
        data = response.json()
    except ValueError:
        data = {}
    if not isinstance(data, dict):
        data = {}
    status = int(data.get("error_code") or response.status_code)
    return status, str(data.get("error") or response.reason or "no text")


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
