"""The way out to the browser: one task that sends, in pieces as large as what has gathered meanwhile.

A keystroke's echo goes out at once, a flood in frames of up to 64 KiB.  No more than the window is ever
on its way, so a stalled tab costs at most ``READ_AHEAD + HIGH_BYTES``; then the engine is not read any
further, and in the container the program waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from sessions.terminals.flow import GATHER_S, GIVE_WAY_BYTES, GIVE_WAY_S, Pace, Typists, Window
from sessions.terminals.protocol import ServerFrame

#: Largest binary frame to the browser.  Larger ones gain nothing and make others wait longer.
MAX_FRAME: Final = 64 * 1024
#: How far to read ahead of the browser.
READ_AHEAD: Final = 128 * 1024
#: More than ever waits: a flood gives way for a time whatever has gathered.
_NEVER_ENOUGH: Final = 2 * READ_AHEAD
#: Control frames waiting behind a blocked socket; further ones are dropped.
MAX_CONTROL: Final = 64


class Outlet:
    """Put output in, and ``run()`` it.  ``owner`` is who does not give way to its own typing."""

    def __init__(
        self,
        *,
        send_bytes: Callable[[bytes], Awaitable[None]],
        send_json: Callable[[ServerFrame], Awaitable[None]],
        typists: Typists,
        owner: object,
    ) -> None:
        self._send_bytes = send_bytes
        self._send_json = send_json
        self._typists = typists
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.window = Window()
        self._pace = Pace()
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._control: deque[ServerFrame] = deque()
        #: Output is sent once this much waits (more than 1 only while a flood gathers), and at most ``_most``.
        self._enough = 1
        self._most = MAX_FRAME
        self._gathering: asyncio.TimerHandle | None = None
        self._last: ServerFrame | None = None
        self._finished = False
        #: Set while acknowledgements cannot come in; the socket alone then says when to wait.
        self._without_window = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        #: When the browser last took or acknowledged something, or output began to wait.
        self._moved_at = self._loop.time()

    def put(self, data: bytes) -> None:
        if not data:
            return
        if not self._waiting:
            self._moved_at = self._loop.time()
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting >= self._enough:
            self._wake.set()

    async def room(self) -> None:
        """Return once more may be put in."""
        while self._waiting >= READ_AHEAD or self._enough == _NEVER_ENOUGH:
            self._room.clear()
            await self._room.wait()

    def tell(self, frame: ServerFrame) -> None:
        """Send a JSON frame ahead of waiting output; dropped when too many wait already."""
        if len(self._control) < MAX_CONTROL:
            self._control.append(frame)
            self._wake.set()

    def ack(self, total: int) -> None:
        """Take the browser's running total.  Raises flow.AckBeyondSent."""
        if self.window.on_ack(total):
            self._moved_at = self._loop.time()
            self._wake.set()

    def without_window(self, on: bool) -> None:
        """Whether to go on without acknowledgements, because the browser's frames are not being read."""
        self._without_window = on
        self._wake.set()

    def finish(self, last: ServerFrame | None) -> None:
        """Nothing more will be put in: ``run`` returns after the last output and this frame."""
        self._last, self._finished = last, True
        self._wake.set()

    def stalled_s(self, now: float) -> float:
        """How long output has been waiting without the browser taking any; 0 when none waits."""
        return now - self._moved_at if self._waiting else 0.0

    async def run(self) -> None:
        """Send until finished; raises whatever the send callables raise."""
        try:
            while True:
                if self._control:
                    await self._send_json(self._control.popleft())
                elif room := self._sendable():
                    await self._send(room)
                elif self._finished and not self._waiting:
                    if self._last is not None:
                        await self._send_json(self._last)
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            if self._gathering is not None:
                self._gathering.cancel()

    def _sendable(self) -> int:
        """How many bytes to send now."""
        if self._waiting < self._enough:
            return 0
        return min(self._most, self._most if self._without_window else self.window.room)

    async def _send(self, most: int) -> None:
        piece = take(self._pieces, most)
        self._waiting -= len(piece)
        self._room.set()
        # Counted first: the acknowledgement may come before sending returns.
        self.window.on_sent(len(piece))
        await self._send_bytes(piece)
        self._moved_at = now = self._loop.time()
        # Slowed down it no longer looks like a flood, but it is one while more is waiting.
        held_back = self._waiting > 0 and self._most < MAX_FRAME
        if self._pace.is_flood(len(piece), now) or held_back:
            self._gather(now)
        else:
            self._most = MAX_FRAME

    def _gather(self, now: float) -> None:
        """Let a flood gather: to full frames, or for a while whatever comes when somebody else types."""
        if self._typists.others_type(self._owner, now):
            self._enough, self._most, pause = _NEVER_ENOUGH, GIVE_WAY_BYTES, GIVE_WAY_S
        else:
            self._enough, self._most, pause = MAX_FRAME, MAX_FRAME, GATHER_S
        if self._gathering is not None:
            self._gathering.cancel()
        self._gathering = self._loop.call_later(pause, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._enough = 1
        self._wake.set()
        self._room.set()


def take(pieces: deque[bytes], limit: int) -> bytes:
    """Take up to ``limit`` bytes off the front, splitting a piece where it must be."""
    first = pieces.popleft()
    if len(first) > limit:
        pieces.appendleft(first[limit:])
        return first[:limit]
    if not pieces or len(first) + len(pieces[0]) > limit:
        return first
    taken = [first]
    size = len(first)
    while pieces and size + len(pieces[0]) <= limit:
        piece = pieces.popleft()
        taken.append(piece)
        size += len(piece)
    return b"".join(taken)
