"""The fake's switches do what their names say, within the time limits of the calls."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from coi_web.errors import DiskFull, IncusNotFound, IncusRejected, IncusTimedOut, IncusUnavailable
from coi_web.incus.fake import FakeIncus
from coi_web.incus.types import ExecRequest, ExecResult, InstanceSpec, InstanceStatus, UsageInfo


@pytest.fixture
def fake() -> FakeIncus:
    fake = FakeIncus()
    fake.create_instance(InstanceSpec("c1", "coi-tiny"))
    return fake


def test_fails_before_anything_changed(fake: FakeIncus) -> None:
    fake.behave("start_instance", fails=IncusUnavailable, times=1)
    with pytest.raises(IncusUnavailable):
        fake.start_instance("c1")
    assert fake.instance("c1").status is InstanceStatus.STOPPED
    fake.start_instance("c1")
    assert fake.instance("c1").status is InstanceStatus.RUNNING


def test_fails_with_the_given_error(fake: FakeIncus) -> None:
    error = DiskFull("The disk is full.")
    fake.behave("start_instance", fails=error)
    with pytest.raises(DiskFull) as caught:
        fake.start_instance("c1")
    assert caught.value is error


def test_fails_late(fake: FakeIncus) -> None:
    fake.behave("start_instance", fails=IncusRejected, fails_late=True)
    with pytest.raises(IncusRejected):
        fake.start_instance("c1")
    assert fake.instance("c1").status is InstanceStatus.RUNNING
    fake.behave("stop_instance", fails_late=True)
    with pytest.raises(IncusTimedOut):
        fake.stop_instance("c1", force=True)
    assert fake.instance("c1").status is InstanceStatus.STOPPED


def test_never_answers(fake: FakeIncus) -> None:
    fake.behave("start_instance", never=True)
    with pytest.raises(IncusTimedOut):
        fake.start_instance("c1", timeout_s=60)
    assert fake.instance("c1").status is InstanceStatus.STOPPED


def test_slow_within_and_beyond_the_limit(fake: FakeIncus) -> None:
    fake.behave("start_instance", slow_s=5)
    with pytest.raises(IncusTimedOut):
        fake.start_instance("c1", timeout_s=0.01)
    thread = threading.Thread(target=fake.start_instance, args=("c1",))
    thread.start()
    deadline = time.monotonic() + 5
    while fake.calls[-1] != ("start_instance", "c1") and time.monotonic() < deadline:
        time.sleep(0.001)
    fake.behave_well()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert fake.instance("c1").status is InstanceStatus.RUNNING


def test_vanishes(fake: FakeIncus) -> None:
    fake.behave("start_instance", vanishes=True)
    with pytest.raises(IncusNotFound):
        fake.start_instance("c1")
    assert fake.instances() == ()


def test_commands_and_usage_can_be_replaced(fake: FakeIncus) -> None:
    fake.start_instance("c1")
    fake.commands["tmux"] = lambda command, stdin: ExecResult(0, " ".join(command).encode(), stdin, False)
    assert fake.run("c1", ["/usr/bin/tmux", "ls"], stdin=b"in") == ExecResult(
        0, b"/usr/bin/tmux ls", b"in", False
    )
    usage = UsageInfo(2.0, 5, 10, None, 1, ())
    fake.set_usage("c1", usage)
    assert fake.usage("c1") is usage
    assert fake.run("c1", ["test", "-x", "/usr/bin/tmux"]).exit_code == 1
    fake.paths |= {"/usr/bin/tmux"}
    assert fake.run("c1", ["test", "-x", "/usr/bin/tmux"]).exit_code == 0


async def test_lost_connections_end_streams(fake: FakeIncus) -> None:
    fake.start_instance("c1")
    terminal = await fake.open_exec("c1", ExecRequest(("sh",)))
    assert await terminal.read() == b"$ "
    assert fake.terminals("c1") == [terminal]
    fake.drop_connections()
    assert await terminal.read() == b""
    assert await terminal.exit_code() is None
    assert fake.terminals("c1") == []


async def test_terminal_records_and_shows(fake: FakeIncus) -> None:
    fake.start_instance("c1")
    terminal = await fake.open_exec("c1", ExecRequest(("sh", "-c", "if some | thing; then unknown; fi")))
    assert await terminal.read() == b"$ "
    await terminal.resize(100, 40)
    await terminal.write(b"\x03")
    assert terminal.sizes == [(80, 24), (100, 40)]
    assert bytes(terminal.input) == b"\x03"
    terminal.show(b"\xfe")
    seen = b""
    while b"\xfe" not in seen:
        seen += await terminal.read()
    await terminal.aclose()


async def test_interrupting_a_sleep(fake: FakeIncus) -> None:
    fake.start_instance("c1")
    terminal = await fake.open_exec("c1", ExecRequest(("sh",)))
    await terminal.write(b"sleep 60\n")
    reader = asyncio.create_task(_until(terminal.read, b"^C\r\n$ "))
    await asyncio.sleep(0.01)
    await terminal.write(b"\x03")
    async with asyncio.timeout(5):
        await reader
    await terminal.aclose()


async def test_terminals_misbehave_too(fake: FakeIncus) -> None:
    fake.start_instance("c1")
    fake.behave("open_exec", fails=IncusUnavailable, times=1)
    with pytest.raises(IncusUnavailable):
        await fake.open_exec("c1", ExecRequest(("sh",)))
    fake.behave("open_exec", never=True)
    with pytest.raises(IncusTimedOut):
        await fake.open_exec("c1", ExecRequest(("sh",)))
    fake.behave("open_exec", vanishes=True)
    with pytest.raises(IncusNotFound):
        await fake.open_exec("c1", ExecRequest(("sh",)))


async def _until(read: object, wanted: bytes) -> bytes:
    seen = b""
    while not seen.endswith(wanted):
        seen += await read()  # type: ignore[operator]
    return seen
