"""Commands without a terminal, from start to end: what ``IncusApi.run`` does on a loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiohttp

from coi_web.incus import errors
from coi_web.incus.exec import CONTROL, ExecOperation
from coi_web.incus.http import Connection, WebSocket, translated
from coi_web.incus.types import ExecResult, IncusConfig

_KILL = 9
_STDIN_PIECE = 1 << 16


async def run_command(
    config: IncusConfig,
    name: str,
    command: tuple[str, ...],
    *,
    user: int,
    group: int,
    environment: Mapping[str, str],
    cwd: str,
    stdin: bytes,
    timeout_s: float,
    max_output_bytes: int,
) -> ExecResult:
    """See :meth:`coi_web.incus.api.IncusApi.run`."""
    connection = Connection(config)
    doing = f"run a command in {name}"
    body = {
        "command": list(command),
        "environment": dict(environment),
        "user": user,
        "group": group,
        "cwd": cwd,
        "wait-for-websocket": True,
        "interactive": False,
    }
    operation: ExecOperation | None = None
    try:
        async with asyncio.timeout(timeout_s):
            operation = await ExecOperation.start(connection, name, body)
            async with translated(timeout_s, doing=doing):
                out, err = await _talk(operation, stdin, max_output_bytes)
            code = await operation.exit_code()
        if code is None:
            raise errors.unavailable("the exit code was lost", doing=doing)
        if code < 0:
            raise errors.rejected(400, "Instance is not running any more", doing=doing)
        return ExecResult(code, bytes(out.kept), bytes(err.kept), out.truncated or err.truncated)
    except TimeoutError:
        if operation is not None:
            await operation.signal(_KILL)
        raise errors.timed_out(timeout_s, doing=doing) from None
    finally:
        if operation is not None:
            await operation.close()
        await connection.aclose()


class _Output:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.kept = bytearray()
        self.truncated = False

    async def take(self, socket: WebSocket) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT and not message.data:
                return
            if message.type is aiohttp.WSMsgType.PING:
                with suppress(aiohttp.ClientError, OSError):
                    await socket.pong(message.data)
            if message.type is aiohttp.WSMsgType.BINARY:
                room = self._limit - len(self.kept)
                self.truncated = self.truncated or len(message.data) > room
                self.kept += message.data[: max(0, room)]


async def _talk(operation: ExecOperation, stdin: bytes, limit: int) -> tuple[_Output, _Output]:
    out, err = _Output(limit), _Output(limit)
    feeder = asyncio.create_task(_feed(operation.sockets["0"], stdin))
    try:
        await asyncio.gather(out.take(operation.sockets["1"]), err.take(operation.sockets["2"]))
    finally:
        # A command may end without having read its input.
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
    await asyncio.gather(*(socket.close() for key, socket in operation.sockets.items() if key != CONTROL))
    return out, err


async def _feed(socket: WebSocket, stdin: bytes) -> None:
    for start in range(0, len(stdin), _STDIN_PIECE):
        await socket.send_bytes(stdin[start : start + _STDIN_PIECE])
    await socket.send_str("")
