"""The same terminal reached in three ways, behind one small interface.

Every way uses the same client library and the same loop, so that what differs is the path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

import aiohttp

from tests.bench.flow_client import AckingReader

SOCKET = "/var/lib/incus/unix.socket"


class End(Protocol):
    """One open terminal, seen from the person's side."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """The next piece of output; raises EOFError once there is no more."""

    async def close(self) -> None: ...

    async def abort(self) -> None:
        """Leave without a word, as a browser that crashed."""


class RawEnd:
    """Incus exec through aiohttp and nothing between: the yardstick."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        data: aiohttp.ClientWebSocketResponse,
        control: aiohttp.ClientWebSocketResponse,
    ) -> None:
        self._http, self._data, self._control = http, data, control

    @classmethod
    async def open(cls, project: str, instance: str, command: list[str]) -> RawEnd:
        http = aiohttp.ClientSession(connector=aiohttp.UnixConnector(SOCKET))
        body = {
            "command": command,
            "wait-for-websocket": True,
            "interactive": True,
            "width": 80,
            "height": 24,
            "user": 1000,
            "group": 1000,
            "environment": {"TERM": "xterm-256color", "HOME": "/home/code"},
        }
        url = f"http://incus/1.0/instances/{instance}/exec"
        async with http.post(url, json=body, params={"project": project}) as response:
            answer = await response.json()
        if answer["type"] == "error":
            await http.close()
            raise RuntimeError(answer["error"])
        fds: dict[str, str] = answer["metadata"]["metadata"]["fds"]
        base = f"http://incus{answer['operation']}/websocket"
        data = await http.ws_connect(base, params={"secret": fds["0"]}, max_msg_size=0)
        control = await http.ws_connect(base, params={"secret": fds["control"]})
        return cls(http, data, control)

    async def send(self, data: bytes) -> None:
        await self._data.send_bytes(data)

    async def receive(self) -> bytes:
        message = await self._data.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise EOFError(str(message.type))
        assert isinstance(message.data, bytes)
        return message.data

    async def close(self) -> None:
        await self._control.close()
        await self._data.close()
        await self._http.close()

    async def abort(self) -> None:
        await _abort(self._data, self._http)


class WebEnd:
    """Our own socket, as the browser speaks it: binary frames, acknowledging what was read."""

    def __init__(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._http, self._socket = http, socket
        self._acks = AckingReader()
        #: The ``shell`` of the ready frame, once it has come.
        self.shell = ""

    @classmethod
    async def open(cls, url: str, cookies: Mapping[str, str], origin: str) -> WebEnd:
        http = aiohttp.ClientSession(cookies=dict(cookies), cookie_jar=aiohttp.CookieJar(unsafe=True))
        try:
            socket = await http.ws_connect(url, origin=origin, max_msg_size=0)
        except BaseException:
            await http.close()
            raise
        return cls(http, socket)

    async def send(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def send_frame(self, frame: Mapping[str, object]) -> None:
        await self._socket.send_str(json.dumps(frame))

    async def receive(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                if (total := self._acks.read(len(message.data))) is not None:
                    await self.send_frame({"type": "ack", "bytes": total})
                assert isinstance(message.data, bytes)
                return message.data
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise EOFError(f"closed with {self._socket.close_code}")
            frame = json.loads(message.data)
            if frame["type"] == "ready":
                self.shell = frame["shell"]

    async def claim(self, total: int) -> None:
        """Acknowledge what was perhaps never read; a server that finds out hangs up."""
        with suppress(aiohttp.ClientError):
            await self.send_frame({"type": "ack", "bytes": total})

    async def close(self) -> None:
        await self._socket.close()
        await self._http.close()

    async def abort(self) -> None:
        await _abort(self._socket, self._http)


class TerminadoEnd:
    """terminado: JSON arrays, decoded on the server, no flow control."""

    def __init__(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._http, self._socket = http, socket

    @classmethod
    async def open(cls, url: str) -> TerminadoEnd:
        http = aiohttp.ClientSession()
        return cls(http, await http.ws_connect(url, max_msg_size=0))

    async def send(self, data: bytes) -> None:
        await self._socket.send_str(json.dumps(["stdin", data.decode()]))

    async def receive(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise EOFError(str(message.type))
            frame = json.loads(message.data)
            if frame[0] == "stdout":
                text: str = frame[1]
                return text.encode()

    async def close(self) -> None:
        await self._socket.close()
        await self._http.close()

    async def abort(self) -> None:
        await _abort(self._socket, self._http)


async def _abort(socket: aiohttp.ClientWebSocketResponse, http: aiohttp.ClientSession) -> None:
    socket._response.close()
    await http.close()


Spec = dict[str, Any]


async def open_end(spec: Spec) -> End:
    """The terminal that a spec (plain JSON, so that other processes can have it) describes."""
    options = {name: value for name, value in spec.items() if name != "kind"}
    if spec["kind"] == "raw":
        return await RawEnd.open(**options)
    if spec["kind"] == "web":
        return await WebEnd.open(**options)
    return await TerminadoEnd.open(**options)
