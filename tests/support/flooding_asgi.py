"""An ASGI application that sends as fast as it may, or never reads; served by a real Daphne in tests.

``GET /`` answers with what it has sent and taken so far.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sessions.terminals.daphne import with_backpressure

counts = {"sent": 0, "taken": 0}
PIECE = b"x" * 65536


async def flood(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "http":
        await receive()
        body = json.dumps(counts).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
        return
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] == "/deaf":
        message = await receive()
        counts["taken"] += len(message["bytes"])
        await asyncio.Event().wait()
    gone = asyncio.ensure_future(receive())
    while not gone.done():
        await send({"type": "websocket.send", "bytes": PIECE})
        counts["sent"] += len(PIECE)
        await asyncio.sleep(0)


application = with_backpressure(flood)
