"""Terminals and events of :class:`IncusStreams`, on aiohttp."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from weakref import WeakSet

import aiohttp

from coi_web.incus import errors, parse
from coi_web.incus.exec import EXIT_CODE_TIMEOUT_S, ExecOperation
from coi_web.incus.http import HEARTBEAT_S, Connection, WebSocket, translated
from coi_web.incus.types import ExecRequest, IncusConfig, LifecycleEvent, OnConnected

_HANGUP = 1
_KILL = 9
#: What a hung-up command may take to end before it is killed, in seconds; tmux clients take about 5 ms.
HANGUP_GRACE_S = 0.4
#: What asking for an exit code may take when the socket broke, in seconds: reattaching should not wait long.
LOST_TIMEOUT_S = 1.0
#: Input is cut into pieces so that a paste does not sit in the socket's buffer as a whole.
_INPUT_PIECE = 1 << 15


class IncusTerminal:
    """One command on a terminal. See :class:`coi_web.incus.api.ExecStream`."""

    def __init__(self, operation: ExecOperation, timeout_s: float) -> None:
        self._operation = operation
        self._data: WebSocket = operation.sockets["0"]
        self._timeout_s = timeout_s
        self._exit_code: int | None = None
        self._reading = False
        self._closing = False
        self._over = asyncio.Event()
        self._closed: asyncio.Task[None] | None = None

    async def read(self) -> bytes:
        if self._closing or self._over.is_set():
            return b""
        return await self._read()

    async def _read(self) -> bytes:
        self._reading = True
        try:
            while True:
                message = await self._data.receive()
                if message.type is aiohttp.WSMsgType.BINARY:
                    if self._closing or not message.data:
                        continue
                    frame: bytes = message.data
                    return frame
                if message.type is aiohttp.WSMsgType.PING:
                    await self._pong(message.data)
                    continue
                await self._end(clean=message.type is aiohttp.WSMsgType.TEXT)
                return b""
        finally:
            self._reading = False

    async def _pong(self, data: bytes) -> None:
        # aiohttp's own answer would raise when Incus has hung up already, and lose the frames that
        # are still in the buffer.
        with suppress(aiohttp.ClientError, OSError):
            await self._data.pong(data)

    async def _end(self, *, clean: bool) -> None:
        """After the last frame. An empty text frame is Incus' word for "the command is over".

        A container that is stopped by force ends its sockets without it, like a daemon that died; asking
        for the exit code tells the two apart.
        """
        if self._over.is_set():
            return
        try:
            # Incus completes the operation when the data socket is closed, and soon forgets it.
            await self._data.close()
            code = await self._operation.exit_code(EXIT_CODE_TIMEOUT_S if clean else LOST_TIMEOUT_S)
            self._exit_code = code if code is None or code >= 0 else None
        finally:
            self._over.set()

    async def write(self, data: bytes) -> None:
        doing = "send input to the terminal"
        if self._closing or self._over.is_set():
            raise errors.unavailable("the command is over", doing=doing)
        async with translated(self._timeout_s, doing=doing):
            for start in range(0, len(data), _INPUT_PIECE):
                await self._data.send_bytes(data[start : start + _INPUT_PIECE])

    async def resize(self, cols: int, rows: int) -> None:
        if self._closing or self._over.is_set():
            return
        await self._operation.control(
            {"command": "window-resize", "args": {"width": str(cols), "height": str(rows)}}
        )

    async def exit_code(self) -> int | None:
        return self._exit_code

    async def aclose(self) -> None:
        # In a task of its own: whoever is cancelled while closing must not leave the command running.
        if self._closed is None:
            self._closing = True
            self._closed = asyncio.create_task(self._close())
        await asyncio.shield(self._closed)

    async def _close(self) -> None:
        try:
            if not self._over.is_set() and not await self._hang_up(_HANGUP, HANGUP_GRACE_S):
                await self._hang_up(_KILL, HANGUP_GRACE_S)
        finally:
            self._over.set()
            await self._operation.close()

    async def _hang_up(self, number: int, grace_s: float) -> bool:
        """Signals the command and waits for its end; False when it goes on."""
        if not await self._operation.signal(number):
            return True
        try:
            async with asyncio.timeout(grace_s):
                if self._reading:
                    await self._over.wait()
                else:
                    await self._read()
        except TimeoutError:
            return False
        return True


class IncusEventStreams:
    """See :class:`coi_web.incus.api.IncusStreams`."""

    def __init__(self, config: IncusConfig) -> None:
        self._config = config
        self._connection: Connection | None = None
        self._terminals: WeakSet[IncusTerminal] = WeakSet()

    async def open_exec(self, name: str, request: ExecRequest) -> IncusTerminal:
        connection = self._connected(f"open a terminal in {name}")
        operation = await ExecOperation.start(
            connection,
            name,
            {
                "command": list(request.command),
                "environment": dict(request.environment),
                "width": request.width,
                "height": request.height,
                "user": request.user,
                "group": request.group,
                "cwd": request.cwd,
                "wait-for-websocket": True,
                "interactive": True,
            },
        )
        terminal = IncusTerminal(operation, self._config.timeout_s)
        self._terminals.add(terminal)
        return terminal

    async def events(
        self, *, on_connected: OnConnected | None = None
    ) -> AsyncGenerator[LifecycleEvent, None]:
        doing = "follow what happens on the engine"
        connection = self._connected(doing)
        socket = await connection.websocket(
            "events", params={"type": "lifecycle"}, heartbeat_s=HEARTBEAT_S, doing=doing
        )
        try:
            if on_connected is not None:
                on_connected()
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    continue
                event = _event(message.data)
                if event is not None:
                    yield event
        except (aiohttp.ClientError, OSError) as error:
            # Answering a ping on a socket that has just gone away raises instead of ending the loop.
            raise errors.unavailable(error, doing=doing) from error
        finally:
            await socket.close()
        raise errors.unavailable("the event socket was closed", doing=doing)

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        await asyncio.gather(*(terminal.aclose() for terminal in self._terminals), return_exceptions=True)
        if connection is not None:
            await connection.aclose()

    def _connected(self, doing: str) -> Connection:
        if self._connection is None:
            try:
                self._connection = Connection(self._config)
            except (OSError, ValueError) as error:
                raise errors.unavailable(error, doing=doing) from error
        return self._connection


def _event(text: str) -> LifecycleEvent | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return parse.lifecycle(data) if isinstance(data, dict) else None
