"""Asking a running panel and its queue whether they answer."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Readiness:
    """``checks``: name of each thing the panel needs → whether it answers."""

    ready: bool
    checks: dict[str, bool] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        return [name for name, is_ok in self.checks.items() if not is_ok]


def ask_ready(host: str, port: int, url: str, *, timeout_s: float = 3.0) -> Readiness | None:
    """What ``/readyz`` says at that host and port, asked as for ``url``; None where nothing answers."""
    public = urlsplit(url)
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request(
            "GET", "/readyz", headers={"Host": public.netloc, "X-Forwarded-Proto": public.scheme}
        )
        response = connection.getresponse()
        body = json.loads(response.read())
        checks = {str(name): bool(value) for name, value in body.get("checks", {}).items()}
        return Readiness(response.status == 200, checks)
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return None
    finally:
        connection.close()


def queue_answers(path: Path) -> bool:
    """Whether the queue's server has loaded its data and answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def port_is_free(bind: str, port: int) -> bool:
    """Whether we could listen there."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError:
            return False
    return True
