"""The bridge between a browser and an exec stream, with both sides played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from coi_web.errors import IncusNotFound, IncusUnavailable
from coi_web.incus.api import ExecStream
from sessions.terminals import bridge as bridge_module
from sessions.terminals.bridge import INPUT_HIGH, Bridge, Ending, Patience
from sessions.terminals.flow import GIVE_WAY_BYTES, HIGH_BYTES, Typists
from sessions.terminals.outlet import MAX_CONTROL, MAX_FRAME, READ_AHEAD
from sessions.terminals.protocol import CloseCode, ServerFrame

MARKER = b"\x1b_coi-web;p\x1b\\"


class PlayedStream:
    """An exec stream whose output the test puts in and whose input it looks at."""

    def __init__(self) -> None:
        self.output: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.typed = bytearray()
        self.sizes: list[tuple[int, int]] = []
        self.code: int | None = 0
        self.read_bytes = 0
        self.closed = 0
        #: Cleared while the program does not take its input.
        self.takes_input = asyncio.Event()
        self.takes_input.set()
        self.output.put_nowait(MARKER)

    async def read(self) -> bytes:
        piece = await self.output.get()
        if isinstance(piece, Exception):
            raise piece
        self.read_bytes += len(piece)
        return piece

    async def write(self, data: bytes) -> None:
        await self.takes_input.wait()
        self.typed += data

    async def resize(self, cols: int, rows: int) -> None:
        self.sizes.append((cols, rows))

    async def exit_code(self) -> int | None:
        return self.code

    async def aclose(self) -> None:
        self.closed += 1


class PlayedBrowser:
    """Takes what the bridge sends; stops taking while ``reads`` is cleared."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.pieces: list[int] = []
        self.frames: list[ServerFrame] = []
        self.closed: list[Ending] = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def send_bytes(self, data: bytes) -> None:
        await self.reads.wait()
        self.received += data
        self.pieces.append(len(data))

    async def send_json(self, frame: ServerFrame) -> None:
        await self.reads.wait()
        self.frames.append(frame)

    async def close(self, ending: Ending) -> None:
        self.closed.append(ending)


async def until(condition: Callable[[], bool], what: str = "") -> None:
    """Let the loop run until ``condition`` holds; five seconds are far more than it takes."""
    deadline = asyncio.get_running_loop().time() + 5
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"did not come true: {what or condition}")
        await asyncio.sleep(0)


async def settle() -> None:
    """Let everything that can run, run."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def joined(
    *,
    patience: Patience | None = None,
    typists: Typists | None = None,
    open_stream: Callable[[int, int], Awaitable[ExecStream]] | None = None,
) -> AsyncIterator[tuple[Bridge, PlayedStream, PlayedBrowser, asyncio.Task[Ending]]]:
    stream, browser = PlayedStream(), PlayedBrowser()

    async def opened(cols: int, rows: int) -> ExecStream:
        return stream

    bridge = Bridge(
        open_stream=open_stream or opened,
        send_bytes=browser.send_bytes,
        send_json=browser.send_json,
        close=browser.close,
        cols=80,
        rows=24,
        patience=patience,
        typists=Typists() if typists is None else typists,
    )
    before = asyncio.all_tasks()
    task = asyncio.create_task(bridge.run())
    try:
        yield bridge, stream, browser, task
    finally:
        bridge.end(CloseCode.NORMAL, "test over")
        await asyncio.wait_for(task, 5)
        assert asyncio.all_tasks() == before, "the bridge left tasks behind"
        assert browser.closed == [task.result()]
        assert stream.closed == (1 if bridge.opened else 0)


async def test_bytes_go_both_ways_as_they_are() -> None:
    awkward = bytes(range(256)) + "é€😀".encode()[:-1]
    async with joined() as (bridge, stream, browser, _):
        stream.output.put_nowait(awkward)
        await bridge.feed_bytes(awkward)
        await until(lambda: browser.received == awkward and stream.typed == awkward)
        assert browser.frames == [{"type": "ready", "shell": "plain", "cols": 80, "rows": 24}]


async def test_the_marker_never_reaches_the_browser_however_it_is_cut() -> None:
    async with joined() as (_, stream, browser, _):
        stream.output.get_nowait()
        for byte in b"\x1b_coi-web;t\x1b\\$ ":
            stream.output.put_nowait(bytes([byte]))
        await until(lambda: browser.received == b"$ ")
        assert browser.frames == [{"type": "ready", "shell": "tmux", "cols": 80, "rows": 24}]


@pytest.mark.parametrize(
    "start", [b"sh: not found\r\n", b"\x1b_coi-wex", b"\x1b_coi-web;q\x1b\\", b"\x1b[2J"]
)
async def test_a_stream_without_the_marker_is_passed_on_whole(start: bytes) -> None:
    async with joined() as (_, stream, browser, _):
        stream.output.get_nowait()
        stream.output.put_nowait(start)
        await until(lambda: browser.received == start)
        assert browser.frames[0]["type"] == "ready"


async def test_output_that_gathers_is_sent_together_and_small_output_at_once() -> None:
    async with joined() as (_, stream, browser, _):
        stream.output.put_nowait(b"k")
        await until(lambda: browser.received == b"k")
        for _ in range(20):
            stream.output.put_nowait(b"x" * 4000)
        await until(lambda: len(browser.received) == 80_001)
        assert len(browser.pieces) <= 5
        assert max(browser.pieces) <= MAX_FRAME


async def test_a_flood_gives_way_while_somebody_else_types() -> None:
    typists = Typists()
    async with joined(typists=typists) as (_, stream, browser, _):
        typists.typed("somebody else", asyncio.get_running_loop().time())
        for _ in range(200):
            stream.output.put_nowait(b"x" * 4000)
        await until(lambda: bool(browser.received))
        await settle()
        assert len(browser.received) <= MAX_FRAME, "one frame, then it waits"
        await until(lambda: len(browser.received) > MAX_FRAME, "and goes on after a while")
        assert browser.pieces[-1] <= GIVE_WAY_BYTES


async def test_a_flood_does_not_give_way_to_its_own_typist() -> None:
    async with joined() as (flooding, stream, browser, _):
        await flooding.feed_bytes(b"yes\n")
        for _ in range(200):
            stream.output.put_nowait(b"x" * 4000)
        await until(lambda: len(browser.received) >= 600_000)
        assert len(browser.pieces) <= 15


async def test_a_browser_that_stops_acknowledging_costs_the_window_and_no_more() -> None:
    async with joined() as (bridge, stream, browser, _):
        for _ in range(1000):
            stream.output.put_nowait(b"x" * 4000)
        await until(lambda: bridge.window.room == 0)
        await settle()
        assert len(browser.received) == HIGH_BYTES
        assert stream.read_bytes <= HIGH_BYTES + READ_AHEAD + 4000 + len(MARKER)

        bridge.feed_text(f'{{"type":"ack","bytes":{HIGH_BYTES}}}')
        await until(lambda: len(browser.received) == 2 * HIGH_BYTES)


async def test_a_browser_that_acknowledges_without_reading_waits_at_the_socket() -> None:
    async with joined() as (bridge, stream, browser, task):
        browser.reads.clear()
        for _ in range(1000):
            stream.output.put_nowait(b"x" * 4000)
            await settle()
            bridge.feed_text(f'{{"type":"ack","bytes":{bridge.window.sent}}}')
        assert browser.received == b""
        assert stream.read_bytes <= READ_AHEAD + MAX_FRAME + 8000
        assert not task.done()


async def test_an_ack_for_what_was_never_sent_is_a_protocol_error() -> None:
    async with joined() as (bridge, stream, browser, task):
        stream.output.put_nowait(b"12345")
        await until(lambda: browser.received == b"12345")
        bridge.feed_text('{"type":"ack","bytes":5}')
        assert not task.done()
        bridge.feed_text('{"type":"ack","bytes":6}')
        ending = await asyncio.wait_for(task, 5)
        assert ending == Ending(CloseCode.PROTOCOL_ERROR, "acknowledged 6 bytes, 5 were sent")


async def test_ctrl_c_overtakes_a_flood() -> None:
    """With the window full and a megabyte waiting, a keystroke still arrives at once."""
    async with joined() as (bridge, stream, browser, _):
        for _ in range(1000):
            stream.output.put_nowait(b"y\r\n" * 1000)
        await until(lambda: bridge.window.room == 0)
        await bridge.feed_bytes(b"\x03")
        await until(lambda: stream.typed == b"\x03")
        assert len(browser.received) == HIGH_BYTES, "nothing was acknowledged meanwhile"


async def test_a_pong_overtakes_a_flood() -> None:
    async with joined() as (bridge, stream, browser, _):
        for _ in range(500):
            stream.output.put_nowait(b"x" * 4000)
        await until(lambda: bridge.window.room == 0)
        bridge.feed_text('{"type":"ping","id":"late"}')
        await until(lambda: {"type": "pong", "id": "late"} in browser.frames)


async def test_pings_from_a_browser_that_does_not_read_do_not_pile_up() -> None:
    async with joined() as (bridge, _, browser, _):
        await until(lambda: bool(browser.frames))
        browser.reads.clear()
        for number in range(10_000):
            bridge.feed_text(f'{{"type":"ping","id":{number}}}')
        browser.reads.set()
        await settle()
        assert 0 < len(browser.frames) <= MAX_CONTROL + 2


async def test_input_beyond_the_queue_makes_the_socket_wait_and_all_of_it_arrives() -> None:
    async with joined() as (bridge, stream, _, _):
        stream.takes_input.clear()
        piece = b"p" * 65536
        fed = 0

        async def paste() -> None:
            nonlocal fed
            for _ in range(16):
                await bridge.feed_bytes(piece)
                fed += len(piece)

        pasting = asyncio.create_task(paste())
        await settle()
        assert fed <= INPUT_HIGH
        stream.takes_input.set()
        await asyncio.wait_for(pasting, 5)
        await until(lambda: len(stream.typed) == 16 * len(piece))


async def test_echoing_a_long_paste_does_not_lock_both_ways() -> None:
    """The program takes input only while its output is taken, and the acks sit behind the paste."""
    async with joined() as (bridge, stream, browser, _):
        echoed = asyncio.Event()

        async def echo_everything() -> None:
            while len(stream.typed) < 4 * HIGH_BYTES:
                stream.takes_input.set()
                await until(lambda: bool(stream.typed))
                stream.takes_input.clear()
                stream.output.put_nowait(bytes(stream.typed[-32768:]))
                before = stream.read_bytes
                await until(lambda before=before: stream.read_bytes > before, "echo was read")  # type: ignore[misc]
            echoed.set()

        program = asyncio.create_task(echo_everything())
        for _ in range(4 * HIGH_BYTES // 65536):
            await asyncio.wait_for(bridge.feed_bytes(b"p" * 65536), 5)
        while not program.done():
            bridge.feed_text(f'{{"type":"ack","bytes":{bridge.window.sent}}}')
            await asyncio.sleep(0)
        await asyncio.wait_for(program, 5)
        assert echoed.is_set()
        assert len(browser.received) > HIGH_BYTES


async def test_a_frame_of_ten_megabytes_is_a_protocol_error() -> None:
    async with joined() as (bridge, stream, _, task):
        await bridge.feed_bytes(b"x" * 10_000_000)
        assert (await asyncio.wait_for(task, 5)).code is CloseCode.PROTOCOL_ERROR
        assert stream.typed == b""


async def test_an_empty_frame_is_not_the_end_of_input() -> None:
    async with joined() as (bridge, stream, _, task):
        await bridge.feed_bytes(b"")
        await bridge.feed_bytes(b"ls\n")
        await until(lambda: stream.typed == b"ls\n")
        assert not task.done()


async def test_dragging_an_edge_sends_few_sizes_and_ends_on_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "RESIZE_EVERY_S", 0.001)
    async with joined() as (bridge, stream, browser, _):
        await until(lambda: bool(browser.frames))
        for cols in range(81, 181):
            bridge.feed_text(f'{{"type":"resize","cols":{cols},"rows":40}}')
        await until(lambda: stream.sizes[-1:] == [(180, 40)])
        assert len(stream.sizes) <= 3
        bridge.feed_text('{"type":"resize","cols":0,"rows":100000}')
        await until(lambda: stream.sizes[-1] == (2, 1000))


async def test_the_shell_ends_after_its_last_output() -> None:
    async with joined() as (bridge, stream, browser, task):
        stream.code = 3
        for _ in range(400):
            stream.output.put_nowait(b"x" * 4000)
        stream.output.put_nowait(b"bye")
        stream.output.put_nowait(b"")
        await until(lambda: bridge.window.room == 0)
        assert not task.done(), "the rest has not been sent yet"
        bridge.feed_text(f'{{"type":"ack","bytes":{bridge.window.sent}}}')
        assert await asyncio.wait_for(task, 5) == Ending(CloseCode.NORMAL, "exit code 3")
        assert browser.received.endswith(b"bye")
        assert browser.frames[-1] == {"type": "exit", "code": 3}


async def test_an_engine_that_dies_is_not_taken_for_a_shell_that_ended() -> None:
    async with joined() as (_, stream, browser, task):
        stream.output.put_nowait(b"half a line")
        stream.output.put_nowait(IncusUnavailable("Incus does not answer.", log_detail="connection reset"))
        assert await asyncio.wait_for(task, 5) == Ending(CloseCode.ENGINE_UNAVAILABLE, "connection reset")
        assert browser.received == b"half a line"
        assert not [frame for frame in browser.frames if frame["type"] == "exit"]


async def test_an_end_without_a_code_asks_the_browser_to_come_back() -> None:
    async with joined() as (_, stream, browser, task):
        stream.code = None
        stream.output.put_nowait(b"")
        assert (await asyncio.wait_for(task, 5)).code is CloseCode.ENGINE_UNAVAILABLE
        assert browser.frames[-1] == {"type": "exit", "code": None}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (IncusUnavailable("Incus does not answer."), CloseCode.ENGINE_UNAVAILABLE),
        (IncusNotFound("The container is gone."), CloseCode.NOT_RUNNING),
        (OSError("surprise"), CloseCode.INTERNAL_ERROR),
    ],
    ids=["down", "gone", "surprise"],
)
async def test_a_stream_that_does_not_open_ends_with_its_code(error: Exception, code: CloseCode) -> None:
    async def refuse(cols: int, rows: int) -> ExecStream:
        raise error

    async with joined(open_stream=refuse) as (_, _, _, task):
        assert (await asyncio.wait_for(task, 5)).code is code


async def test_ending_while_the_stream_is_still_opening_closes_nothing_and_leaves_nothing() -> None:
    async def never(cols: int, rows: int) -> ExecStream:
        await asyncio.Event().wait()
        raise AssertionError("never opened")

    async with joined(open_stream=never) as (bridge, _, _, task):
        await bridge.feed_bytes(b"typed early")
        await settle()
        bridge.end(CloseCode.FORBIDDEN, "revoked")
        assert (await asyncio.wait_for(task, 5)).code is CloseCode.FORBIDDEN


async def test_revoking_ends_at_once_though_the_browser_takes_nothing() -> None:
    async with joined() as (bridge, stream, browser, task):
        browser.reads.clear()
        stream.output.put_nowait(b"x" * 100_000)
        await settle()
        bridge.end(CloseCode.FORBIDDEN, "revoked")
        bridge.end(CloseCode.NORMAL, "too late to matter")
        assert await asyncio.wait_for(task, 5) == Ending(CloseCode.FORBIDDEN, "revoked")


async def test_a_browser_that_takes_nothing_is_given_up_in_time() -> None:
    async with joined(patience=Patience(output_s=0.05, input_s=5, idle_s=5)) as (bridge, stream, _, task):
        for _ in range(400):
            stream.output.put_nowait(b"x" * 4000)
        await until(lambda: bridge.window.room == 0)
        ending = await asyncio.wait_for(task, 5)
        assert ending == Ending(CloseCode.STALLED, f"{HIGH_BYTES} bytes not acknowledged")


async def test_a_program_that_takes_no_input_is_given_up_in_time() -> None:
    async with joined(patience=Patience(output_s=5, input_s=0.05, idle_s=5)) as (bridge, stream, _, task):
        stream.takes_input.clear()
        await asyncio.wait_for(bridge.feed_bytes(b"x" * (INPUT_HIGH + MAX_FRAME)), 5)
        assert (await asyncio.wait_for(task, 5)).code is CloseCode.STALLED


async def test_silence_ends_it_and_a_ping_keeps_it() -> None:
    async with joined(patience=Patience(output_s=5, input_s=5, idle_s=0.1)) as (bridge, _, _, task):
        loop = asyncio.get_running_loop()
        started = loop.time()
        while loop.time() < started + 0.3:
            bridge.feed_text('{"type":"ping","id":1}')
            await asyncio.sleep(0.01)
        assert not task.done()
        ending = await asyncio.wait_for(task, 5)
        assert ending == Ending(CloseCode.STALLED, "nothing heard from the browser")


async def test_a_browser_that_vanishes_in_the_middle_of_sending_is_not_an_accident() -> None:
    async def gone(data: bytes) -> None:
        raise ConnectionResetError("client disconnected")

    stream, browser = PlayedStream(), PlayedBrowser()

    async def opened(cols: int, rows: int) -> ExecStream:
        return stream

    bridge = Bridge(
        open_stream=opened,
        send_bytes=gone,
        send_json=browser.send_json,
        close=browser.close,
        cols=80,
        rows=24,
    )
    stream.output.put_nowait(b"hello")
    ending = await asyncio.wait_for(bridge.run(), 5)
    assert ending.code is CloseCode.INTERNAL_ERROR
    assert stream.closed == 1


async def test_a_state_is_told_while_the_terminal_is_open() -> None:
    async with joined() as (bridge, _, browser, _):
        bridge.tell({"type": "state", "state": "frozen"})
        await until(lambda: {"type": "state", "state": "frozen"} in browser.frames)


async def test_hanging_up_a_slow_command_does_not_hold_the_socket_open() -> None:
    async with joined() as (bridge, stream, browser, task):
        hang_up = asyncio.Event()
        close_at_once = stream.aclose

        async def slow_close() -> None:
            await hang_up.wait()
            await close_at_once()

        stream.aclose = slow_close  # type: ignore[method-assign]
        await until(lambda: bool(browser.frames))
        bridge.end(CloseCode.ENDED, "session ended")
        await until(lambda: browser.closed == [Ending(CloseCode.ENDED, "session ended")])
        assert not task.done()
        hang_up.set()
