"""The HTTP session that pylxd gets from us instead of making its own.

What pylxd's own does wrong here: it keeps one pool per *address asked for* on a Unix socket, and on https
it lets ``REQUESTS_CA_BUNDLE`` replace the pinned certificate, so that the connection fails.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pylxd.client
import requests
import urllib3
import urllib3.connection
from requests.adapters import HTTPAdapter

from coi_web.incus.types import IncusConfig

#: Connections kept open at most: beyond what any process has threads, since urllib3 warns about the rest.
_KEPT_CONNECTIONS = 64


class _UnixConnection(urllib3.connection.HTTPConnection):
    def __init__(self, path: str, **options: Any) -> None:
        super().__init__("localhost", timeout=options.get("timeout"))
        self._path = path

    def connect(self) -> None:
        # urllib3 sets self.timeout to the connect limit of the request before it calls this.
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self.sock = sock


class _UnixPool(urllib3.HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", maxsize=_KEPT_CONNECTIONS)
        self._path = path

    def _new_conn(self) -> _UnixConnection:
        return _UnixConnection(self._path)


class _UnixAdapter(HTTPAdapter):
    """Sends every request to one Unix socket, whatever host its address names."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._pool = _UnixPool(path)

    def get_connection_with_tls_context(self, *_args: Any, **_options: Any) -> _UnixPool:
        return self._pool

    def request_url(self, request: requests.PreparedRequest, _proxies: object) -> str:
        return request.path_url

    def close(self) -> None:
        self._pool.close()


def endpoint_address(config: IncusConfig) -> str:
    """The endpoint as pylxd wants it."""
    if config.remote:
        return config.endpoint.rstrip("/")
    return f"http+unix://{quote(config.endpoint, safe='')}"


def new_session(config: IncusConfig) -> requests.Session:
    """A session that heeds nothing but ``config``: no proxies, no certificates from the environment."""
    if config.remote:
        session: requests.Session = pylxd.client.get_session_for_url(
            endpoint_address(config),
            cert=(config.client_cert, config.client_key),
            verify=str(Path(config.server_cert or "")),
        )
    else:
        session = requests.Session()
        session.mount("http+unix://", _UnixAdapter(config.endpoint))
    session.trust_env = False
    return session
