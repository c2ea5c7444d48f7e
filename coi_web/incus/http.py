"""aiohttp towards Incus: one session per event loop, the server pinned, failures translated."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from coi_web.incus import errors
from coi_web.incus.types import IncusConfig

#: Incus sends terminal output in frames of 4 to 20 KB and plain output in frames of up to 32 KB.
MAX_FRAME_BYTES = 1 << 20
#: A socket that is being closed may wait this long for the other side's goodbye.
CLOSE_TIMEOUT_S = 1.0
#: Between two signs of life on sockets that may be silent; not used for exec, where a caller that reads
#: slowly would not see the answers and lose a healthy stream.
HEARTBEAT_S = 20.0

WebSocket = aiohttp.ClientWebSocketResponse


class Connection:
    """Opened on the running event loop and to be closed on it."""

    def __init__(self, config: IncusConfig) -> None:
        self._config = config
        self.timeout_s = config.timeout_s
        connector: aiohttp.BaseConnector
        #: Goes with every request: on https it holds our certificate.
        self._ssl: ssl.SSLContext | bool = True
        if config.remote:
            assert config.client_cert and config.client_key and config.server_cert  # IncusConfig checks
            self._base = config.endpoint.rstrip("/")
            self._ssl = _client_context(config.client_cert, config.client_key)
            # The context says who we are, the connector says who the server must be; aiohttp takes
            # one of the two per place and heeds both.
            connector = aiohttp.TCPConnector(ssl=_fingerprint(config.server_cert), limit=0)
        else:
            self._base = "http://incus"
            connector = aiohttp.UnixConnector(path=config.endpoint, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=config.timeout_s),
        )

    async def request(
        self,
        method: str,
        *path: str,
        doing: str,
        params: Mapping[str, str] | None = None,
        json: object = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """The whole answer. Raises Incus errors."""
        limit = timeout_s or self.timeout_s
        async with translated(limit, doing=doing):
            async with self._session.request(
                method,
                self._url(path),
                params={"project": self._config.project, **(params or {})},
                json=json,
                ssl=self._ssl,
                timeout=aiohttp.ClientTimeout(total=limit),
            ) as response:
                answer: dict[str, Any] = await response.json(content_type=None)
            if answer.get("type") == "error" or response.status >= 400:
                status = int(answer.get("error_code") or response.status)
                raise errors.rejected(status, str(answer.get("error") or ""), doing=doing)
            return answer

    async def websocket(
        self,
        *path: str,
        doing: str,
        params: Mapping[str, str],
        heartbeat_s: float | None = None,
        autoping: bool = True,
    ) -> WebSocket:
        """A socket that stops reading when nobody takes its frames. Raises Incus errors.

        Without ``autoping`` the caller meets Incus' pings and answers them.
        """
        async with translated(self.timeout_s, doing=doing), asyncio.timeout(self.timeout_s):
            return await self._session.ws_connect(
                self._url(path),
                params={"project": self._config.project, **params},
                ssl=self._ssl,
                max_msg_size=MAX_FRAME_BYTES,
                heartbeat=heartbeat_s,
                autoping=autoping,
                compress=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
            )

    async def aclose(self) -> None:
        await self._session.close()

    def _url(self, path: tuple[str, ...]) -> URL:
        return URL(f"{self._base}/1.0/" + "/".join(quote(part, safe="") for part in path), encoded=True)


@asynccontextmanager
async def translated(limit_s: float, *, doing: str) -> AsyncIterator[None]:
    """Turns what aiohttp and asyncio raise inside into Incus errors; cancellation passes."""
    try:
        yield
    except TimeoutError:
        raise errors.timed_out(limit_s, doing=doing) from None
    except aiohttp.WSServerHandshakeError as error:
        # Without its text: that one holds the address, and with it the secret of an exec socket.
        raise errors.rejected(error.status, "websocket refused", doing=doing) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise errors.unavailable(type(error).__name__ + _harmless(error), doing=doing) from None


def _harmless(error: Exception) -> str:
    """The text of an error that cannot hold the address of an exec socket."""
    return f": {error}" if isinstance(error, aiohttp.ClientConnectorError | OSError) else ""


def _client_context(cert: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Incus' certificate is self-signed; the fingerprint below decides instead.
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(cert, key)
    return context


def _fingerprint(server_cert: str) -> aiohttp.Fingerprint:
    der = ssl.PEM_cert_to_DER_cert(Path(server_cert).read_text())
    return aiohttp.Fingerprint(hashlib.sha256(der).digest())
