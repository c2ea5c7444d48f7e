"""Joins one browser to one exec stream of the engine.

Two directions that never wait for each other::

    engine ──_read──▶ Outlet (≤ READ_AHEAD) ──window──▶ browser
    browser ──feed_bytes──▶ queue (≤ INPUT_HIGH) ──_type──▶ engine

Ctrl-C goes the other way and is never behind the output.  No Django here, and no decoding: bytes go
through as they are.
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
from sessions.terminals.flow import AckBeyondSent, Typists, Window
from sessions.terminals.launch import Shell, ShellMarker
from sessions.terminals.outlet import Outlet, take
from sessions.terminals.protocol import CloseCode, ProtocolError, ServerFrame

log = structlog.get_logger(__name__)

#: Typed or pasted bytes waiting for the engine; above, the socket is not read any further.
INPUT_HIGH: Final = 256 * 1024
#: One write to the engine.
MAX_WRITE: Final = 32 * 1024
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
        self._close = close
        self._patience = patience or Patience()
        self._typists = typists
        self._loop = asyncio.get_running_loop()
        self._stream: ExecStream | None = None
        self._ending: asyncio.Future[Ending] = self._loop.create_future()
        self._outlet = Outlet(send_bytes=send_bytes, send_json=send_json, typists=typists, owner=self)
        self._size = self._applied_size = (cols, rows)
        self._resize_wake = asyncio.Event()

        self._input: deque[bytes] = deque()
        self._pending_input = 0
        self._input_full = False
        self._type_wake = asyncio.Event()
        self._input_room = asyncio.Event()
        self._heard_at = self._input_moved_at = self._loop.time()

    @property
    def window(self) -> Window:
        return self._outlet.window

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
        self._outlet.without_window(True)
        while self._pending_input > INPUT_HIGH and not self._ending.done():
            self._input_room.clear()
            await self._input_room.wait()
        self._input_full = False
        self._outlet.without_window(False)
        self._heard_at = self._loop.time()

    def feed_text(self, text: str) -> None:
        """Act on a JSON frame.  A frame against the protocol ends the bridge."""
        self._heard_at = self._loop.time()
        try:
            frame = protocol.parse(text)
            if isinstance(frame, protocol.Ack):
                self._outlet.ack(frame.total)
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
        self._outlet.tell(frame)

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
            # Shielded, so that cancelling this task does not take the ending along.
            ending = await asyncio.shield(self._ending)
        finally:
            self.end(CloseCode.INTERNAL_ERROR, "cancelled")
            await _cancel(tasks)
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
        parts = (self._carry_output, self._type, self._resize)
        tasks = [asyncio.create_task(self._guard(part, stream)) for part in parts]
        try:
            await asyncio.gather(*tasks)
        finally:
            await _cancel(tasks)

    async def _carry_output(self, stream: ExecStream) -> None:
        sending = asyncio.create_task(self._guard(self._outlet.run))
        try:
            ending, frame = await self._read(stream)
            self._outlet.finish(frame)
            await sending
            self.end(ending.code, ending.detail)
        finally:
            await _cancel([sending])

    async def _guard(self, part: Callable[..., Awaitable[None]], *args: ExecStream) -> None:
        try:
            await part(*args)
        except CoiError as error:
            self.end(close_code_of(error), error.log_detail or error.message)
        except Exception as error:
            # The send callables raise whatever their server raises when the browser has gone.
            log.info("terminal.broken", error=repr(error))
            self.end(CloseCode.INTERNAL_ERROR, repr(error))

    async def _read(self, stream: ExecStream) -> tuple[Ending, ServerFrame | None]:
        """Read to the end; returns how to close and the last frame before that."""
        outlet, marker = self._outlet, ShellMarker()
        ready = False
        try:
            while data := await stream.read():
                if not ready:
                    data = marker.feed(data)
                    if marker.shell is None:
                        continue
                    ready = True
                    self._say_ready(marker.shell)
                outlet.put(data)
                await outlet.room()
            outlet.put(marker.flush())
            code = await stream.exit_code()
        except CoiError as error:
            return Ending(close_code_of(error), error.log_detail or error.message), None
        # Without a code the engine lost the process: the browser finds out by coming back.
        closing = CloseCode.ENGINE_UNAVAILABLE if code is None else CloseCode.NORMAL
        return Ending(closing, f"exit code {code}"), {"type": "exit", "code": code}

    def _say_ready(self, shell: Shell) -> None:
        cols, rows = self._size
        self.tell({"type": "ready", "shell": shell, "cols": cols, "rows": rows})

    async def _type(self, stream: ExecStream) -> None:
        while True:
            if not self._input:
                self._type_wake.clear()
                await self._type_wake.wait()
            data = take(self._input, MAX_WRITE)
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
            if self._outlet.stalled_s(now) > patience.output_s:
                self.end(CloseCode.STALLED, f"{self.window.unacked} bytes not acknowledged")
            elif self._input_full and now - self._input_moved_at > patience.input_s:
                self.end(CloseCode.STALLED, f"{self._pending_input} bytes of input not taken")
            elif not self._input_full and now - self._heard_at > patience.idle_s:
                self.end(CloseCode.STALLED, "nothing heard from the browser")


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
