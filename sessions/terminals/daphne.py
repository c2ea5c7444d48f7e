"""Backpressure for Daphne, which has none of its own (django/daphne#170).

Daphne's ``send`` never waits and its ``receive`` queue has no end: a tab that stops reading beside a
flood, and acknowledges all the same, would grow the process without limit.  Its Twisted transport
knows when it is full, so an ASGI wrapper asks it.  Other servers wait by themselves and are left alone.

Relies on Daphne passing ``partial(handle_reply, protocol)`` as ``send``; the terminal suite runs
against a real Daphne and fails when that changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def with_backpressure(application: Application) -> Application:
    """Wrap the outermost ASGI application; changes nothing except for websockets under Daphne."""

    async def wrapped(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        transport = _daphne_transport(send) if scope["type"] == "websocket" else None
        if transport is None:
            await application(scope, receive, send)
        else:
            flow = _Flow(transport, receive, send)
            try:
                await application(scope, flow.receive, flow.send)
            finally:
                flow.release()

    return wrapped


class _Flow:
    """Stands as the transport's producer (Twisted's IPushProducer) and between server and application."""

    def __init__(self, transport: Any, receive: Receive, send: Send) -> None:
        self._transport = transport
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._writable = asyncio.Event()
        self._writable.set()
        self._reading_paused = False
        self._busy: asyncio.Handle | None = None
        # Twisted's HTTP channel is still registered from before the upgrade.
        transport.unregisterProducer()
        transport.registerProducer(self, True)

    async def send(self, message: Message) -> None:
        await self._writable.wait()
        await self._send(message)

    async def receive(self) -> Message:
        """The next message.  Nothing more is read while the application is busy with one."""
        if self._busy is not None:
            self._busy.cancel()
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resumeProducing()
        message = await self._receive()
        # Most messages are done with before the loop turns; only then is pausing worth its cost.
        self._busy = self._loop.call_soon(self._pause_reading)
        return message

    def release(self) -> None:
        """The application is done: let the closing handshake be read."""
        if self._busy is not None:
            self._busy.cancel()
        if self._reading_paused:
            self._transport.resumeProducing()

    def _pause_reading(self) -> None:
        self._reading_paused = True
        self._transport.pauseProducing()

    # What Twisted calls; the names are its own.

    def pauseProducing(self) -> None:
        self._writable.clear()

    def resumeProducing(self) -> None:
        self._writable.set()

    def stopProducing(self) -> None:
        self._writable.set()


def _daphne_transport(send: Send) -> Any:
    if isinstance(send, partial) and send.args and hasattr(send.args[0], "serverSend"):
        return send.args[0].transport
    return None
