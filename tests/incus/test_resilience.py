"""Any process may die at any moment: within 30 s everything is right again, and nothing is left over.

A real panel under its supervisor, real containers, and ``kill -9``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.incus_lab import IMAGE, IncusLab
from tests.support.panel import RunningPanel, wait_for
from tests.support.tmux_image import ensure_tmux_image

#: What the product promises, see README.
RIGHT_AGAIN_S = 30


@dataclass(frozen=True)
class Stage:
    panel: RunningPanel
    token: str
    cookie: str
    lab: IncusLab

    def start_session(self) -> str:
        """Ask for a session on a new workspace; returns its name at once."""
        name = f"w{uuid.uuid4().hex[:8]}"
        status, workspace = self.panel.api(self.token, "POST", "workspaces/", {"name": name})
        assert status < 300, workspace
        status, made = self.panel.api(
            self.token, "POST", "sessions/", {"workspace": f"ana.{name}", "mode": "ephemeral"}
        )
        assert status < 300, made
        return str((made.get("session") or made)["name"])

    def state(self, session: str) -> str:
        status, found = self.panel.api(self.token, "GET", f"sessions/{session}/")
        return str(found["state"]) if status == 200 else f"HTTP {status}"

    def wait_for_state(self, session: str, state: str) -> None:
        wait_for(
            f"{session} {state}", lambda: _quietly(self.state, session) == state, timeout_s=RIGHT_AGAIN_S
        )

    def active_operations(self) -> list[Any]:
        _status, found = self.panel.api(self.token, "GET", "operations/?limit=20")
        rows = found["results"] if isinstance(found, dict) else found
        return [row for row in rows if row["state"] in ("queued", "running")]

    def assert_nothing_left_over(self, live: set[str]) -> None:
        """Exactly the containers of ``live`` exist, and no operation hangs."""
        wait_for("no active operation", lambda: not self.active_operations(), timeout_s=RIGHT_AGAIN_S)
        names = {one.name for one in self.lab.api.instances()}
        assert names == live

    def kill_session(self, session: str) -> None:
        status, body = self.panel.api(self.token, "POST", f"sessions/{session}/kill/")
        assert status < 300, body
        self.wait_for_state(session, "ended")


def _quietly(call: Callable[[str], str], argument: str) -> str:
    """While the web process is away, asking fails."""
    try:
        return call(argument)
    except OSError as error:
        return repr(error)


@pytest.fixture(scope="module")
def stage(lab: IncusLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    lab.empty()
    ensure_tmux_image(lab.api, IMAGE)
    environment = {
        "COI_INCUS_PROJECT": lab.name,
        "COI_INCUS_POOL": lab.name,
        "COI_INCUS_NETWORK": lab.name,
    }
    panel = RunningPanel(tmp_path_factory.mktemp("panel"), environment)
    try:
        panel.start()
        yield Stage(panel, panel.make_people(), panel.session_cookie("ana"), lab)
    finally:
        panel.stop()
        lab.empty()


@asynccontextmanager
async def terminal(stage: Stage, session: str) -> Any:
    """An open terminal socket; retried while the web process is away."""
    url = f"{stage.panel.url}/ws/sessions/{session}/terminal/?cols=100&rows=30"
    headers = {"Cookie": f"coi_web_session={stage.cookie}", "Origin": stage.panel.url}
    async with aiohttp.ClientSession() as http:

        async def connect() -> aiohttp.ClientWebSocketResponse | None:
            try:
                socket = await http.ws_connect(url, headers=headers)
            except (aiohttp.ClientError, OSError):
                return None
            first = await socket.receive(timeout=10)
            while first.type is aiohttp.WSMsgType.BINARY:
                first = await socket.receive(timeout=10)
            if first.type is aiohttp.WSMsgType.TEXT and first.json().get("type") == "ready":
                return socket
            await socket.close()
            return None

        socket = await _until("a terminal", connect)
        try:
            yield socket
        finally:
            await socket.close()


async def _until(what: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(RIGHT_AGAIN_S):
        while True:
            found = await attempt()
            if found:
                return found
            await asyncio.sleep(0.1)


async def type_and_see(socket: aiohttp.ClientWebSocketResponse, line: str, wanted: bytes) -> None:
    await socket.send_bytes(line.encode() + b"\n")
    seen = b""
    async with asyncio.timeout(15):
        while wanted not in seen:
            message = await socket.receive()
            assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), (message, seen)
            if message.type is aiohttp.WSMsgType.BINARY:
                seen += message.data


async def until_closed(socket: aiohttp.ClientWebSocketResponse) -> None:
    async with asyncio.timeout(15):
        while not socket.closed:
            message = await socket.receive()
            if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE):
                return


@pytest.mark.parametrize("step", ["running", "create", "start"])
def test_worker_killed_in_the_middle_of_a_start(stage: Stage, step: str) -> None:
    worker = stage.panel.pid("worker")
    session = stage.start_session()

    def is_there() -> bool:
        if step == "create":
            return any(one.name == session for one in stage.lab.api.instances())
        if step == "start":
            return any(one.name == session and one.status == "running" for one in stage.lab.api.instances())
        return any(
            row["kind"] == "session.start" and row["state"] == "running" for row in stage.active_operations()
        )

    try:
        wait_for(f"the moment “{step}”", is_there, timeout_s=15)
    finally:
        os.kill(worker, signal.SIGKILL)
    stage.wait_for_state(session, "running")
    stage.assert_nothing_left_over({session})
    stage.kill_session(session)
    stage.assert_nothing_left_over(set())


async def test_web_killed_with_a_terminal_open(stage: Stage) -> None:
    session = await asyncio.to_thread(stage.start_session)
    await asyncio.to_thread(stage.wait_for_state, session, "running")
    async with terminal(stage, session) as socket:
        await type_and_see(socket, "kept=in-memory; echo one-$((1 + 1))", b"one-2")
        os.kill(await asyncio.to_thread(stage.panel.pid, "web"), signal.SIGKILL)
        await until_closed(socket)
    async with terminal(stage, session) as socket:
        await type_and_see(socket, "echo still-$kept", b"still-in-memory")
    await asyncio.to_thread(stage.kill_session, session)
    stage.assert_nothing_left_over(set())


async def test_incusd_killed_with_a_terminal_open_and_a_start_under_way(stage: Stage) -> None:
    first = await asyncio.to_thread(stage.start_session)
    await asyncio.to_thread(stage.wait_for_state, first, "running")
    async with terminal(stage, first) as socket:
        await type_and_see(socket, "kept=in-memory; echo one-$((1 + 1))", b"one-2")
        second = await asyncio.to_thread(stage.start_session)
        os.kill(incusd_pid(), signal.SIGKILL)
        await until_closed(socket)
    await asyncio.to_thread(stage.wait_for_state, second, "running")
    async with terminal(stage, first) as socket:
        await type_and_see(socket, "echo still-$kept", b"still-in-memory")
    stage.assert_nothing_left_over({first, second})
    for session in (first, second):
        await asyncio.to_thread(stage.kill_session, session)
    stage.assert_nothing_left_over(set())


def test_redis_killed(stage: Stage) -> None:
    os.kill(stage.panel.pid("redis"), signal.SIGKILL)
    session = wait_for("a start", lambda: _quietly_start(stage), timeout_s=RIGHT_AGAIN_S)
    stage.wait_for_state(session, "running")
    stage.kill_session(session)
    stage.assert_nothing_left_over(set())


def _quietly_start(stage: Stage) -> str:
    try:
        return stage.start_session()
    except OSError:
        return ""


def test_supervisor_killed_leaves_no_process_and_can_be_started_again(stage: Stage) -> None:
    session = stage.start_session()
    stage.wait_for_state(session, "running")
    children = {name: int(one["pid"]) for name, one in stage.panel.processes().items()}
    supervisor = parent_of(children["web"])
    os.kill(supervisor, signal.SIGKILL)
    wait_for(
        "the end of all processes",
        lambda: not [name for name, pid in children.items() if Path(f"/proc/{pid}/cmdline").exists()],
        timeout_s=10,
    )
    stage.panel.start()
    assert stage.state(session) == "running"
    stage.kill_session(session)
    stage.assert_nothing_left_over(set())


def incusd_pid() -> int:
    """The daemon's process on this machine."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if (
            command[0].endswith(b"/incusd")
            and b"forkproxy" not in command
            and (len(command) < 2 or command[1][:1] in (b"-", b""))
        ):
            return int(folder.name)
    raise AssertionError("no incusd runs on this machine")


def parent_of(pid: int) -> int:
    """From /proc/PID/stat, see proc(5): the field after the state."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
