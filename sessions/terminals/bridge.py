"""Joins one browser to one exec stream of the engine.

Two directions that never wait for each other::

    engine ──read──▶ buffer (≤ READ_AHEAD) ──window──▶ browser     (_read, _write)
    browser ──feed_bytes──▶ queue (≤ INPUT_HIGH) ──────▶ engine    (_type)

Output leaves through one task only, in pieces as large as what has gathered meanwhile: a keystroke's
echo goes out at once, a flood in pieces of up to 64 KiB.  No more than the window is ever on its way, so
a stalled tab costs at most ``READ_AHEAD + HIGH_BYTES``, and then the engine and the program in
the container wait.  Ctrl-C goes the other way and is never behind the output.

No Django here, and no decoding: bytes go through as they are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from coi_web.errors import CoiError
from coi_web.incus.api import ExecStream
from sessions.terminals import protocol
from sessions.terminals.flow import GATHER_S, GIVE_WAY_BYTES, GIVE_WAY_S, AckBeyondSent, Pace, Typists, Window
from sessions.terminals.launch import Shell, ShellMarker
from sessions.terminals.protocol import CloseCode, ProtocolError, ServerFrame

log = structlog.get_logger(__name__)

#: Largest binary frame to the browser.  Larger ones gain nothing and make others wait longer.
MAX_FRAME: Final = 64 * 1024
#: How far to read ahead of the browser.
READ_AHEAD: Final = 128 * 1024
#: More than ever waits: a flood gives way for a time whatever has gathered.
NEVER_ENOUGH: Final = 2 * READ_AHEAD
#: Typed or pasted bytes waiting for the engine; above, the socket is not read any further.
INPUT_HIGH: Final = 256 * 1024
#: One write to the engine.
MAX_WRITE: Final = 32 * 1024
#: Control frames waiting behind a blocked socket; further pongs are dropped.
MAX_CONTROL: Final = 64
#: The shortest time between two window changes: dragging an edge sends dozens a second.
RESIZE_EVERY_S: Final = 0.03
#: How long closing may wait for a browser that takes nothing.
CLOSE_S: Final = 2.0


#: Shared by all terminals of the process.
_typists = Typists()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait before a silent side is given up, in seconds."""

    #: Output is waiting and the browser neither takes nor acknowledges anything.  A hidden tab
    #: draws once a minute at the least.
    output_s: float = 120.0
    #: Input is waiting and the program takes none, while more wants to come.
    input_s: float = 25.0
    #: Nothing at all was heard from the browser, which pings at least once a minute.
    idle_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a bridge ended.  ``detail`` is for the log."""

    code: CloseCode
    detail: str = ""


class Bridge:
    """Feed it what the browser sends, and ``run()`` it until either side is done.

    ``send_bytes`` and ``send_json`` are only ever called from one task at a time and may wait as
    long as the socket is full; ``close`` is called once, after the last of them.  ``open_stream`` gets
    columns and rows.
    """

    def __init__(
        self,
        *,
        open_stream: Callable[[int, int], Awaitable[ExecStream]],
        send_bytes: Callable[[bytes], Awaitable[None]],
        send_json: Callable[[ServerFrame], Awaitable[None]],
        close: Callable[[Ending], Awaitable[None]],
        cols: int,
        rows: int,
        patience: Patience | None = None,
        typists: Typists = _typists,
    ) -> None:
        self._open_stream = open_stream
        self._send_bytes = send_bytes
        self._send_json = send_json
        self._close = close
        self._stream: ExecStream | None = None
        self._patience = patience or Patience()
        self._typists = typists
        self._pace = Pace()
        #: Output is sent once this much waits (more than 1 only while a flood gathers), and at most ``_most``.
        self._enough = 1
        self._most = MAX_FRAME
        self._gathering: asyncio.TimerHandle | None = None
        self._size = self._applied_size = (cols, rows)
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Future[Ending] = self._loop.create_future()

        self.window = Window()
        self._output: deque[bytes] = deque()
        self._buffered = 0
        self._control: deque[ServerFrame] = deque()
        #: Set once nothing more comes from the engine; sent after the last output.
        self._last: tuple[Ending, ServerFrame | None] | None = None
        self._write_wake = asyncio.Event()
        self._read_room = asyncio.Event()

        self._input: deque[bytes] = deque()
        self._pending_input = 0
        self._input_full = False
        self._type_wake = asyncio.Event()
        self._input_room = asyncio.Event()
        self._resize_wake = asyncio.Event()

        now = self._loop.time()
        self._heard_at = self._output_moved_at = self._input_moved_at = now

    @property
    def opened(self) -> bool:
        """Whether the command was started."""
        return self._stream is not None

    # What the browser sends.

    async def feed_bytes(self, data: bytes) -> None:
        """Queue typed bytes.  Waits while too many are queued, so that the socket is not read on.

        While it waits no acknowledgement can come in either, so output then relies on the
        socket alone to wait: otherwise a program that echoes a long paste would lock both ways.
        """
        self._heard_at = self._loop.time()
        try:
            protocol.check_input(data)
        except ProtocolError as error:
            self.end(CloseCode.PROTOCOL_ERROR, str(error))
            return
        if not data:
            # To the engine an empty frame can mean the end of input.
            return
        self._typists.typed(self, self._heard_at)
        self._input.append(data)
        self._pending_input += len(data)
        self._type_wake.set()
        if self._pending_input <= INPUT_HIGH:
            return
        self._input_moved_at = self._loop.time()
        self._input_full = True
        self._write_wake.set()
        while self._pending_input > INPUT_HIGH and not self._ending.done():
            self._input_room.clear()
            await self._input_room.wait()
        self._input_full = False
        self._heard_at = self._loop.time()

    def feed_text(self, text: str) -> None:
        """Act on a JSON frame.  A frame against the protocol ends the bridge."""
        self._heard_at = self._loop.time()
        try:
            frame = protocol.parse(text)
            if isinstance(frame, protocol.Ack):
                if self.window.on_ack(frame.total):
                    self._output_moved_at = self._heard_at
                    self._write_wake.set()
            elif isinstance(frame, protocol.Resize):
                self._size = (frame.cols, frame.rows)
                self._resize_wake.set()
            else:
                self.tell({"type": "pong", "id": frame.id})
        except (ProtocolError, AckBeyondSent) as error:
            self.end(CloseCode.PROTOCOL_ERROR, str(error))

    # What the outside asks for.

    def tell(self, frame: ServerFrame) -> None:
        """Send a JSON frame ahead of waiting output; dropped when the browser takes none."""
        if len(self._control) < MAX_CONTROL:
            self._control.append(frame)
            self._write_wake.set()

    def end(self, code: CloseCode, detail: str = "") -> None:
        """End the bridge now; what has not been sent yet is dropped.  The first reason stays."""
        if not self._ending.done():
            self._ending.set_result(Ending(code, detail))
        self._input_room.set()

    async def run(self) -> Ending:
        """Open the stream and carry bytes until something ends it; then close the socket and the stream.

        Never raises an engine error.  Afterwards no task is left.
        """
        tasks = [asyncio.create_task(self._guard(part)) for part in (self._serve, self._watch)]
        try:
            ending = await self._ending
        finally:
            self.end(CloseCode.INTERNAL_ERROR, "cancelled")
            await _cancel(tasks)
            if self._gathering is not None:
                self._gathering.cancel()
            # The person's socket first: hanging up the command can take a second.
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_S):
                        await self._close(self._ending.result())
            except Exception as error:
                # Closing what the browser closed before; every server raises its own kind.
                log.debug("terminal.close", error=repr(error))
            finally:
                if self._stream is not None:
                    await self._stream.aclose()
        return ending

    async def _serve(self) -> None:
        self._stream = stream = await self._open_stream(*self._size)
        parts = (self._read, self._type, self._resize)
        tasks = [asyncio.create_task(self._guard(part, stream)) for part in parts]
        tasks.append(asyncio.create_task(self._guard(self._write)))
        try:
            await asyncio.gather(*tasks)
        finally:
            await _cancel(tasks)

    async def _guard(self, part: Callable[..., Awaitable[None]], *args: ExecStream) -> None:
        try:
            await part(*args)
        except CoiError as error:
            self.end(close_code_of(error), error.log_detail or error.message)
        except Exception as error:
            # The send callables raise whatever their server raises when the browser has gone.
            log.info("terminal.broken", error=repr(error))
            self.end(CloseCode.INTERNAL_ERROR, repr(error))

    async def _read(self, stream: ExecStream) -> None:
        marker = ShellMarker()
        ready = False
        try:
            while data := await stream.read():
                if not ready:
                    data = marker.feed(data)
                    if marker.shell is None:
                        continue
                    ready = True
                    self._say_ready(marker.shell)
                if data:
                    self._put_output(data)
                while self._buffered >= READ_AHEAD or self._enough == NEVER_ENOUGH:
                    self._read_room.clear()
                    await self._read_room.wait()
            self._put_output(marker.flush())
            code = await stream.exit_code()
        except CoiError as error:
            detail = error.log_detail or error.message
            self._last = (Ending(close_code_of(error), detail), None)
        else:
            # Without a code the engine lost the process: the browser finds out by coming back.
            closing = CloseCode.ENGINE_UNAVAILABLE if code is None else CloseCode.NORMAL
            self._last = (Ending(closing, f"exit code {code}"), {"type": "exit", "code": code})
        self._write_wake.set()

    def _put_output(self, data: bytes) -> None:
        if not data:
            return
        if not self._buffered:
            self._output_moved_at = self._loop.time()
        self._output.append(data)
        self._buffered += len(data)
        if self._buffered >= self._enough:
            self._write_wake.set()

    def _say_ready(self, shell: Shell) -> None:
        cols, rows = self._size
        self.tell({"type": "ready", "shell": shell, "cols": cols, "rows": rows})

    async def _write(self) -> None:
        window = self.window
        while True:
            if self._control:
                await self._send_json(self._control.popleft())
            elif self._may_send() and (room := MAX_FRAME if self._input_full else window.room) > 0:
                piece = self._take_output(min(room, self._most))
                # Counted first: the acknowledgement may come before sending returns.
                window.on_sent(len(piece))
                await self._send_bytes(piece)
                self._output_moved_at = now = self._loop.time()
                # Slowed down it no longer looks like a flood, but it is one while more is waiting.
                held_back = self._buffered > 0 and self._most < MAX_FRAME
                if self._pace.is_flood(len(piece), now) or held_back:
                    self._gather(now)
                else:
                    self._most = MAX_FRAME
            elif self._last is not None and not self._buffered:
                ending, frame = self._last
                if frame is not None:
                    await self._send_json(frame)
                self.end(ending.code, ending.detail)
                return
            else:
                self._write_wake.clear()
                await self._write_wake.wait()

    def _may_send(self) -> bool:
        return self._buffered >= self._enough

    def _gather(self, now: float) -> None:
        """Let output of a flood gather, to full frames only or for a while whatever comes."""
        if self._typists.others_type(self, now):
            self._enough, self._most, pause = NEVER_ENOUGH, GIVE_WAY_BYTES, GIVE_WAY_S
        else:
            self._enough, self._most, pause = MAX_FRAME, MAX_FRAME, GATHER_S
        if self._gathering is not None:
            self._gathering.cancel()
        self._gathering = self._loop.call_later(pause, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._enough = 1
        self._write_wake.set()
        self._read_room.set()

    def _take_output(self, limit: int) -> bytes:
        data = _take(self._output, limit)
        self._buffered -= len(data)
        self._read_room.set()
        return data

    async def _type(self, stream: ExecStream) -> None:
        while True:
            if not self._input:
                self._type_wake.clear()
                await self._type_wake.wait()
            data = _take(self._input, MAX_WRITE)
            await stream.write(data)
            self._pending_input -= len(data)
            self._input_moved_at = self._loop.time()
            if self._pending_input <= INPUT_HIGH:
                self._input_room.set()

    async def _resize(self, stream: ExecStream) -> None:
        while True:
            if self._size == self._applied_size:
                self._resize_wake.clear()
                await self._resize_wake.wait()
                continue
            self._applied_size = size = self._size
            await stream.resize(*size)
            await asyncio.sleep(RESIZE_EVERY_S)

    async def _watch(self) -> None:
        patience = self._patience
        pause = min(patience.output_s, patience.input_s, patience.idle_s) / 10
        while True:
            await asyncio.sleep(pause)
            now = self._loop.time()
            if self._buffered and now - self._output_moved_at > patience.output_s:
                self.end(CloseCode.STALLED, f"{self.window.unacked} bytes not acknowledged")
            elif self._input_full and now - self._input_moved_at > patience.input_s:
                self.end(CloseCode.STALLED, f"{self._pending_input} bytes of input not taken")
            elif not self._input_full and now - self._heard_at > patience.idle_s:
                self.end(CloseCode.STALLED, "nothing heard from the browser")


def _take(pieces: deque[bytes], limit: int) -> bytes:
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


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def close_code_of(error: CoiError) -> CloseCode:
    """How an expected error closes the socket."""
    try:
        return CloseCode(error.close_code)
    except ValueError:
        return CloseCode.INTERNAL_ERROR
