"""Terminals of real containers through a real panel, under uvicorn and under Daphne."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from coi_web.incus import tiny_image
from sessions.terminals.protocol import ACK_EVERY_BYTES, CloseCode
from tests.support.incus_lab import IMAGE, IncusLab
from tests.support.panel import RunningPanel, wait_for
from tests.support.tmux_image import ensure_tmux_image

pytestmark = pytest.mark.timeout(180)

MIB = 1024 * 1024
#: What one stalled browser may cost the web process (README, figures).
MOST_PER_STALLED = 4 * MIB


@dataclass(frozen=True)
class Stage:
    """A panel with two running sessions of Ana's: one with tmux in its image, one without."""

    server: str
    panel: RunningPanel
    cookie: str
    lab: IncusLab
    with_tmux: str
    plain: str

    def web_bytes(self) -> int:
        status = Path(f"/proc/{self.panel.pid('web')}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found, status
        return int(found[1]) * 1024


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def stage(
    request: pytest.FixtureRequest, lab: IncusLab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    lab.empty()
    use_plain_image(lab, tmp_path_factory.mktemp("image"))
    environment = {
        "COI_INCUS_PROJECT": lab.name,
        "COI_INCUS_POOL": lab.name,
        "COI_INCUS_NETWORK": lab.name,
        "COI_ASGI_SERVER": request.param,
    }
    panel = RunningPanel(tmp_path_factory.mktemp(f"panel-{request.param}"), environment)
    try:
        panel.start()
        token = panel.make_people()
        plain = start_session(panel, token)
        ensure_tmux_image(lab.api, IMAGE)
        with_tmux = start_session(panel, token)
        yield Stage(request.param, panel, panel.session_cookie("ana"), lab, with_tmux, plain)
    finally:
        panel.stop()
        lab.empty()


def use_plain_image(lab: IncusLab, folder: Path) -> None:
    """Point the alias at the image without tmux again."""
    tiny_image.build(folder / "plain.tar.gz")
    lab.api.import_image(folder / "plain.tar.gz", IMAGE)


def start_session(panel: RunningPanel, token: str) -> str:
    name = f"t{uuid.uuid4().hex[:8]}"
    status, made = panel.api(token, "POST", "workspaces/", {"name": name})
    assert status < 300, made
    status, made = panel.api(token, "POST", "sessions/", {"workspace": f"ana.{name}", "mode": "ephemeral"})
    assert status < 300, made
    session = str((made.get("session") or made)["name"])

    def state() -> str:
        return str(panel.api(token, "GET", f"sessions/{session}/")[1]["state"])

    wait_for(f"{session} running", lambda: state() == "running")
    return session


@dataclass
class Screen:
    """A browser: acknowledges what it reads, as the page does."""

    socket: aiohttp.ClientWebSocketResponse
    output: bytearray = field(default_factory=bytearray)
    frames: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    acked: int = 0
    code: int | None = None

    async def step(self) -> None:
        message = await self.socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            self.frames.append(json.loads(message.data))
            return
        if message.type is not aiohttp.WSMsgType.BINARY:
            # The client's own close_code is about its answer, which can come too late.
            is_close = message.type is aiohttp.WSMsgType.CLOSE
            self.code = message.data if is_close else self.socket.close_code
            raise EOFError(f"closed with {self.code}; saw {bytes(self.output[-500:])!r}")
        self.output += message.data
        self.total += len(message.data)
        if self.total - self.acked >= ACK_EVERY_BYTES:
            self.acked = self.total
            await self.send(type="ack", bytes=self.total)

    async def send(self, **frame: object) -> None:
        await self.socket.send_str(json.dumps(frame))

    async def see(self, pattern: bytes) -> re.Match[bytes]:
        """Wait for a match and forget everything up to its end; of what does not match only the end is kept."""
        try:
            async with asyncio.timeout(20):
                while not (found := re.search(pattern, self.output)):
                    await self.step()
                    del self.output[:-16384]
        except TimeoutError:
            pytest.fail(f"waited for {pattern!r}, saw {bytes(self.output[-1000:])!r} and {self.frames[-5:]}")
        del self.output[: found.end()]
        return found

    async def line(self, command: bytes) -> None:
        await self.socket.send_bytes(command + b"\n")

    async def shell(self) -> str:
        async with asyncio.timeout(20):
            while not (ready := [frame for frame in self.frames if frame["type"] == "ready"]):
                await self.step()
        return str(ready[0]["shell"])

    async def close_code(self) -> int | None:
        async with asyncio.timeout(20):
            try:
                while True:
                    await self.step()
            except EOFError:
                return self.code


@asynccontextmanager
async def terminal(stage: Stage, session: str, query: str = "?cols=100&rows=30") -> AsyncIterator[Screen]:
    headers = {"Cookie": f"coi_web_session={stage.cookie}", "Origin": stage.panel.url}
    url = f"{stage.panel.url}/ws/sessions/{session}/terminal/{query}"
    async with aiohttp.ClientSession() as http:
        socket = await http.ws_connect(url, headers=headers, max_msg_size=0)
        try:
            yield Screen(socket)
        finally:
            # Not close(): it would wait for a server whose window is full of what nobody reads.
            socket._response.close()


async def test_typing_size_and_bytes_that_are_not_text(stage: Stage) -> None:
    async with terminal(stage, stage.plain) as screen:
        assert await screen.shell() == "plain"
        await screen.line(b"stty size; pwd; id -u; echo $TERM")
        await screen.see(rb"\r\n30 100\r\n/workspace\r\n1000\r\nxterm-256color\r\n")
        await screen.send(type="resize", cols=77, rows=11)
        await screen.line(b"sleep 0.2; stty size")
        await screen.see(rb"\r\n11 77\r\n")
        await screen.send(type="resize", cols=0, rows=100000)
        await screen.line(b"sleep 0.2; stty size")
        await screen.see(rb"\r\n1000 2\r\n")
        await screen.send(type="resize", cols=100, rows=30)
        await screen.line(b"sleep 0.2")
        await screen.line(rb"printf '\377\376\200\303(\n'")
        await screen.see(rb"\n\xff\xfe\x80\xc3\(\r\n")
        await screen.line(b"stty raw -echo; head -c 5 | od -An -tx1; stty sane")
        await screen.see(rb"sane\r\n")
        await screen.socket.send_bytes(b"\xff\x00\xc3\x28\x80")
        await screen.see(rb"ff 00 c3 28 80")
        await screen.send(type="ping", id="x")
        async with asyncio.timeout(10):
            while {"type": "pong", "id": "x"} not in screen.frames:
                await screen.step()


async def test_the_exit_code_of_the_shell(stage: Stage) -> None:
    async with terminal(stage, stage.plain) as screen:
        await screen.shell()
        await screen.line(b"exit 7")
        assert await screen.close_code() == CloseCode.NORMAL
        assert screen.frames[-1] == {"type": "exit", "code": 7}


async def test_ctrl_c_stops_a_flood_that_nobody_reads(stage: Stage) -> None:
    async with terminal(stage, stage.plain) as screen:
        await screen.shell()
        await screen.line(b"yes flooding")
        await screen.see(rb"(flooding\r\n){100}")
        # The window fills meanwhile; Ctrl-C goes the other way.
        await asyncio.sleep(0.5)
        await screen.socket.send_bytes(b"\x03")
        await screen.line(b"echo stop''ped")
        await screen.see(rb"stopped\r\n")


async def test_coming_back_shows_the_same_screen(stage: Stage) -> None:
    async with terminal(stage, stage.with_tmux) as screen:
        assert await screen.shell() == "tmux"
        await screen.line(b"kept=in-memory; echo fir''st-visit")
        await screen.see(rb"first-visit")
    async with terminal(stage, stage.with_tmux) as screen:
        assert await screen.shell() == "tmux"
        await screen.see(rb"first-visit")
        await screen.line(b"echo still-$kept; tmux display -p '#S'")
        await screen.see(rb"still-in-memory")
        await screen.see(rf"coi-{stage.with_tmux}".encode())


async def test_two_browsers_share_one_screen(stage: Stage) -> None:
    async with terminal(stage, stage.with_tmux) as one, terminal(stage, stage.with_tmux) as two:
        await one.shell()
        await two.shell()
        await one.line(b"echo from-$((40 + 2))")
        await one.see(rb"from-42")
        await two.see(rb"from-42")


async def test_a_browser_that_does_not_read_costs_little(stage: Stage) -> None:
    """Several at once, so that the allocator's own steps weigh little."""
    browsers = 4
    await warm_up(stage)

    async def not_reading() -> None:
        async with terminal(stage, stage.plain) as screen:
            await screen.shell()
            await screen.line(b"yes 'nobody reads this, and there is a lot of it'")
            await asyncio.sleep(3)

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(browsers):
                group.create_task(not_reading())

    grown = await growth(stage, all_of_them())
    assert grown <= browsers * MOST_PER_STALLED, f"{grown / MIB:.1f} MiB for {browsers}"


async def test_a_browser_that_acknowledges_without_reading_costs_no_more(stage: Stage) -> None:
    """The lie grows by 13 MB/s, slower than the flood, so that nothing but the socket can stop it."""
    await warm_up(stage)

    async def lying() -> None:
        async with terminal(stage, stage.plain) as screen:
            await screen.shell()
            await screen.line(b"yes 'a line of text' | head -c 500000 > /tmp/f; while cat /tmp/f; do :; done")
            told = screen.total
            await asyncio.sleep(0.5)
            for _ in range(600):
                told += 65536
                # A lie that is found out closes the socket.
                with suppress(aiohttp.ClientError):
                    await screen.send(type="ack", bytes=told)
                await asyncio.sleep(0.005)

    grown = await growth(stage, lying())
    assert grown <= MOST_PER_STALLED, f"{grown / MIB:.1f} MiB"


async def warm_up(stage: Stage) -> None:
    """Everything that is loaded at first use is loaded now."""
    async with terminal(stage, stage.plain) as screen:
        await screen.shell()
        await screen.line(b"yes warming-up | head -c 2000000; echo don''e")
        await screen.see(rb"done\r\n")


async def growth(stage: Stage, doing: Coroutine[object, object, None]) -> int:
    """The most that the web process grew by meanwhile, in bytes."""
    before = most = await asyncio.to_thread(stage.web_bytes)
    task = asyncio.create_task(doing)
    while not task.done():
        most = max(most, await asyncio.to_thread(stage.web_bytes))
        await asyncio.wait([task], timeout=0.05)
    await task
    return most - before


async def test_a_frame_of_ten_megabytes_ends_only_its_own_socket(stage: Stage) -> None:
    async with terminal(stage, stage.plain) as screen, terminal(stage, stage.plain) as beside:
        await screen.shell()
        await beside.shell()
        # The server may hang up before it has taken all.
        with suppress(aiohttp.ClientError, OSError):
            await screen.socket.send_bytes(b"x" * 10_000_000)
        # The servers refuse it themselves, with the code of RFC 6455 or by hanging up.
        assert await screen.close_code() in (CloseCode.PROTOCOL_ERROR, 1009, 1006, None)
        await beside.line(b"echo not-''hurt")
        await beside.see(rb"not-hurt\r\n")


async def test_a_container_that_is_stopped_outside_ends_its_terminals(stage: Stage) -> None:
    async with terminal(stage, stage.plain) as screen:
        await screen.shell()
        await asyncio.to_thread(stage.lab.api.stop_instance, stage.plain, force=True)
        code = await screen.close_code()
        assert code in (
            CloseCode.NORMAL,
            CloseCode.NOT_RUNNING,
            CloseCode.ENGINE_UNAVAILABLE,
            CloseCode.ENDED,
        )
    # Whichever came first: coming back gives the reason.
    async with terminal(stage, stage.plain) as screen:
        assert await screen.close_code() in (CloseCode.NOT_RUNNING, CloseCode.ENDED)
