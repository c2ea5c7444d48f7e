"""The few Incus calls that getting a machine ready needs, over the local Unix socket.

The panel's own adapter is not used: the launcher must be able to say why Incus does not answer on a
machine where the panel's requirements do not even import.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from coi_web.launcher.errors import LauncherError

DEFAULT_SOCKET = Path("/var/lib/incus/unix.socket")
#: Every key that the launcher writes on what it makes, so that it can tell its own from others'.
MARK = "user.coi_web"


class Reach(StrEnum):
    """What knocking at the socket showed."""

    ANSWERS = "answers"
    ABSENT = "absent"
    #: The socket is there and nobody listens: the daemon died, as opposed to having been stopped.
    STALE = "stale"
    FORBIDDEN = "forbidden"
    SILENT = "silent"


class IncusRefused(Exception):
    """Incus answered with an error; ``status`` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def knock(path: Path = DEFAULT_SOCKET, *, timeout_s: float = 2.0) -> Reach:
    """Whether a daemon listens at the socket; sends nothing."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(str(path))
    except FileNotFoundError:
        return Reach.ABSENT
    except PermissionError:
        return Reach.FORBIDDEN
    except ConnectionRefusedError:
        return Reach.STALE
    except OSError:
        return Reach.SILENT
    finally:
        connection.close()
    return Reach.ANSWERS


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("incus", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class IncusRest:
    """A client without state; every call opens its own connection."""

    path: Path = DEFAULT_SOCKET
    project: str = "default"

    def get(self, url: str, *, timeout_s: float = 10, **query: str) -> Any:
        """The metadata of a synchronous answer; ``_`` in a query's name becomes ``-``.

        Raises IncusRefused, or OSError where nobody listens.
        """
        return self._call("GET", url, None, query, timeout_s)["metadata"]

    def find(self, url: str) -> dict[str, Any] | None:
        """The object, or None where Incus says it does not exist."""
        try:
            found: dict[str, Any] = self.get(url)
        except IncusRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        return found

    def change(
        self,
        method: str,
        url: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float = 60,
        **query: str,
    ) -> dict[str, Any]:
        """Sends a change and waits for its operation to end; raises IncusRefused where it fails."""
        answer = self._call(method, url, body, query, timeout_s)
        if answer.get("type") != "async":
            return answer
        return self._wait(str(answer["operation"]), timeout_s)

    def upload_image(self, file: Path, *, timeout_s: float = 300) -> str:
        """Imports a unified image tarball and gives its fingerprint back."""
        connection = _UnixConnection(self.path, timeout_s)
        try:
            with file.open("rb") as stream:
                connection.request(
                    "POST",
                    f"/1.0/images?{urlencode({'project': self.project})}",
                    body=stream,
                    headers={
                        "Content-Type": "application/octet-stream",
                        "Content-Length": str(file.stat().st_size),
                        "X-Incus-filename": file.name,
                        "X-Incus-public": "0",
                    },
                )
                answer = _decode(connection.getresponse())
        finally:
            connection.close()
        done = self._wait(str(answer["operation"]), timeout_s)
        return str(done["metadata"]["fingerprint"])

    def point_alias(self, alias: str, fingerprint: str, description: str) -> None:
        """Makes or moves an image alias."""
        url = f"/1.0/images/aliases/{quote(alias, safe='')}"
        if self.find(url) is None:
            body = {"name": alias, "target": fingerprint, "description": description}
            self.change("POST", "/1.0/images/aliases", body)
        else:
            self.change("PUT", url, {"target": fingerprint, "description": description})

    def _wait(self, operation: str, timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        wait_s = max(1, int(timeout_s))
        result: dict[str, Any] = self.get(f"{operation}/wait", timeout_s=timeout_s + 5, timeout=str(wait_s))
        if result.get("status_code") == 200:
            return result
        if time.monotonic() >= deadline:
            raise IncusRefused(504, f"not finished after {wait_s} s")
        raise IncusRefused(
            int(result.get("status_code", 500)), str(result.get("err", "failed without a reason"))
        )

    def _call(
        self,
        method: str,
        url: str,
        body: Mapping[str, object] | None,
        query: Mapping[str, str],
        timeout_s: float,
    ) -> dict[str, Any]:
        connection = _UnixConnection(self.path, timeout_s)
        named = {name.replace("_", "-"): value for name, value in query.items()}
        # Incus refuses to be asked for one project and for all.
        scope = {} if "all-projects" in named else {"project": self.project}
        full = f"{url}?{urlencode({**scope, **named})}"
        try:
            connection.request(
                method,
                full,
                body=None if body is None else json.dumps(body),
                headers={} if body is None else {"Content-Type": "application/json"},
            )
            return _decode(connection.getresponse())
        finally:
            connection.close()


def _decode(response: http.client.HTTPResponse) -> dict[str, Any]:
    raw = response.read()
    try:
        answer = json.loads(raw)
    except ValueError as error:
        raise IncusRefused(response.status, f"an answer that is not JSON: {raw[:100]!r}") from error
    if not isinstance(answer, dict):
        raise IncusRefused(response.status, f"an answer of another shape: {raw[:100]!r}")
    if answer.get("type") == "error":
        raise IncusRefused(int(answer.get("error_code") or response.status), str(answer.get("error", "")))
    return answer


def trusted_server(rest: IncusRest) -> dict[str, Any]:
    """The server's own description.  Raises LauncherError where it does not trust us or does not answer."""
    try:
        server: dict[str, Any] = rest.get("/1.0")
    except IncusRefused as refusal:
        raise LauncherError(
            "incus-refused",
            f"Incus answers with an error: {refusal.message}",
            mend=["Look at /var/log/incus/."],
        ) from refusal
    except (OSError, http.client.HTTPException) as error:
        raise LauncherError(
            "incus-silent",
            f"Incus does not answer at {rest.path}: {error}",
            mend=["Start it (systemctl start incus), then run ./coi-web up again."],
        ) from error
    if server.get("auth") != "trusted":
        raise LauncherError(
            "incus-untrusted", "Incus does not trust this user.", mend=["Run as root or with sudo."]
        )
    return server
