"""The half of the engine's contract that lives on the event loop: terminals and events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from coi_web.errors import IncusConflict, IncusNotFound, IncusUnavailable, InstanceFrozen
from coi_web.incus.api import ExecStream, IncusApi, IncusStreams
from coi_web.incus.types import ExecRequest, LifecycleEvent
from tests.support.incus_contract import Contract, World

_LIMIT_S = 20.0


async def read_until(stream: ExecStream, wanted: bytes) -> bytes:
    """What came up to and with ``wanted``; fails at the end of the stream and after a while."""
    seen = b""
    async with asyncio.timeout(_LIMIT_S):
        while wanted not in seen:
            frame = await stream.read()
            assert frame, f"the stream ended after {seen!r}"
            seen += frame
    return seen


async def read_all(stream: ExecStream) -> bytes:
    seen = b""
    async with asyncio.timeout(_LIMIT_S):
        while frame := await stream.read():
            seen += frame
    return seen


class StreamContract(Contract):
    """Terminals and events."""

    @pytest.fixture(autouse=True)
    async def _no_task_is_left(self) -> AsyncIterator[None]:
        before = asyncio.all_tasks()
        yield
        deadline = time.monotonic() + 5
        while left := {task for task in asyncio.all_tasks() - before if not task.done()}:
            left.discard(asyncio.current_task())
            if not left:
                break
            assert time.monotonic() < deadline, left
            await asyncio.sleep(0.01)

    # -- terminals ----------------------------------------------------------------------------------------

    async def test_echo_output_and_end(self, streams: IncusStreams, box: str) -> None:
        stream = await streams.open_exec(box, ExecRequest(("cat",)))
        await stream.write(b"hello\n")
        seen = await read_until(stream, b"hello\r\nhello\r\n")
        assert seen.count(b"hello") == 2
        await stream.write(b"\x04")
        assert await read_all(stream) == b""
        assert await stream.exit_code() == 0
        assert await stream.read() == b""
        await stream.aclose()

    async def test_bytes_are_not_decoded(self, streams: IncusStreams, box: str) -> None:
        stream = await streams.open_exec(box, ExecRequest(("sh", "-c", r"printf '\377\376\200'")))
        assert await read_all(stream) == b"\xff\xfe\x80"
        await stream.aclose()

    async def test_environment_user_and_size(self, streams: IncusStreams, box: str) -> None:
        request = ExecRequest(
            ("sh", "-c", "stty size; id -u; echo $COLOUR; pwd"),
            {"COLOUR": "blue"},
            width=101,
            height=31,
            user=1000,
            group=1000,
            cwd="/tmp",
        )
        stream = await streams.open_exec(box, request)
        assert await read_all(stream) == b"31 101\r\n1000\r\nblue\r\n/tmp\r\n"
        await stream.aclose()

    async def test_resize(self, streams: IncusStreams, box: str) -> None:
        stream = await streams.open_exec(box, ExecRequest(("sh",)))
        await stream.resize(132, 43)
        seen = b""
        async with asyncio.timeout(_LIMIT_S):
            # Incus takes the size from another socket than the input.
            while b"43 132" not in seen:
                await stream.write(b"stty size; echo mark\n")
                seen = await read_until(stream, b"\nmark\r\n")
        await stream.aclose()

    async def test_exit_codes(self, streams: IncusStreams, box: str) -> None:
        for command, code in ((("sh", "-c", "exit 7"), 7), (("no-such-command",), 127)):
            stream = await streams.open_exec(box, ExecRequest(command))
            await read_all(stream)
            assert await stream.exit_code() == code
            await stream.aclose()

    async def test_interrupt_during_a_flood(self, streams: IncusStreams, box: str) -> None:
        stream = await streams.open_exec(box, ExecRequest(("yes",)))
        count = 0
        while count < 1 << 20:
            frame = await stream.read()
            assert 0 < len(frame) <= 1 << 20
            count += len(frame)
        await stream.write(b"\x03")
        async with asyncio.timeout(_LIMIT_S):
            while await stream.read():
                pass
        assert await stream.exit_code() == 130
        await stream.aclose()

    async def test_close_while_reading(self, streams: IncusStreams, box: str) -> None:
        stream = await streams.open_exec(box, ExecRequest(("cat",)))
        reader = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        await stream.aclose()
        assert await reader == b""
        await stream.aclose()
        assert await stream.read() == b""
        with pytest.raises(IncusUnavailable):
            await stream.write(b"x")
        await stream.resize(80, 24)

    async def test_close_during_an_unread_flood(self, streams: IncusStreams, box: str) -> None:
        stream = await streams.open_exec(box, ExecRequest(("yes",)))
        assert await stream.read()
        async with asyncio.timeout(3):
            await stream.aclose()

    async def test_write_after_the_end(self, streams: IncusStreams, box: str) -> None:
        stream = await streams.open_exec(box, ExecRequest(("true",)))
        await read_all(stream)
        with pytest.raises(IncusUnavailable):
            await stream.write(b"x")
        await stream.aclose()

    async def test_stopping_ends_terminals(self, world: World, streams: IncusStreams, api: IncusApi) -> None:
        name = await asyncio.to_thread(world.running)
        stream = await streams.open_exec(name, ExecRequest(("cat",)))
        reader = asyncio.create_task(stream.read())
        await asyncio.to_thread(api.stop_instance, name, force=True)
        async with asyncio.timeout(_LIMIT_S):
            assert await reader == b""
        # Incus does not always see how it ended.
        assert await stream.exit_code() in (137, None)
        await stream.aclose()

    async def test_frozen_is_silent_and_goes_on(
        self, world: World, streams: IncusStreams, api: IncusApi
    ) -> None:
        name = await asyncio.to_thread(world.running)
        stream = await streams.open_exec(name, ExecRequest(("cat",)))
        await stream.write(b"one\n")
        await read_until(stream, b"one\r\none\r\n")
        await asyncio.to_thread(api.freeze_instance, name)
        with pytest.raises(InstanceFrozen):
            await streams.open_exec(name, ExecRequest(("cat",)))
        await asyncio.to_thread(api.unfreeze_instance, name)
        await stream.write(b"two\n")
        await read_until(stream, b"two\r\ntwo\r\n")
        await stream.aclose()

    async def test_terminal_refused(self, world: World, streams: IncusStreams, api: IncusApi) -> None:
        with pytest.raises(IncusNotFound):
            await streams.open_exec("nope", ExecRequest(("sh",)))
        spec = world.spec()
        await asyncio.to_thread(api.create_instance, spec)
        with pytest.raises(IncusConflict) as caught:
            await streams.open_exec(spec.name, ExecRequest(("sh",)))
        assert caught.value.code == "not-running"

    async def test_closing_all_ends_terminals(self, streams: IncusStreams, box: str) -> None:
        stream = await streams.open_exec(box, ExecRequest(("cat",)))
        await streams.aclose()
        assert await stream.read() == b""
        await streams.aclose()

    # -- events -------------------------------------------------------------------------------------------

    async def test_events_of_a_life(self, world: World, streams: IncusStreams, api: IncusApi) -> None:
        connected = asyncio.Event()
        spec = world.spec()
        seen: list[LifecycleEvent] = []

        async def follow() -> None:
            async with aclosing(streams.events(on_connected=connected.set)) as events:
                async for event in events:
                    if event.name == spec.name:
                        seen.append(event)
                    if event.action == "instance-deleted" and event.name == spec.name:
                        return

        follower = asyncio.create_task(follow())
        async with asyncio.timeout(_LIMIT_S):
            await connected.wait()
            for call in (
                lambda: api.create_instance(spec),
                lambda: api.start_instance(spec.name),
                lambda: api.freeze_instance(spec.name),
                lambda: api.unfreeze_instance(spec.name),
                lambda: api.update_config(spec.name, {"user.a": "b"}),
                lambda: api.stop_instance(spec.name, force=True),
                lambda: api.delete_instance(spec.name),
            ):
                await asyncio.to_thread(call)
            await follower
        assert [event.action for event in seen] == [
            "instance-created",
            "instance-started",
            "instance-paused",
            "instance-resumed",
            "instance-updated",
            "instance-stopped",
            "instance-deleted",
        ]
        # Incus names nobody for a change of settings.
        nameless = {event.action for event in seen if not event.requestor}
        assert nameless <= {"instance-updated"}
        assert all(event.at.tzinfo for event in seen)
        assert len({event.project for event in seen}) == 1

    async def test_events_end_with_an_error(self, streams: IncusStreams) -> None:
        connected = asyncio.Event()

        async def follow() -> None:
            async for _ in streams.events(on_connected=connected.set):
                pass

        follower = asyncio.create_task(follow())
        async with asyncio.timeout(_LIMIT_S):
            await connected.wait()
            await streams.aclose()
            with pytest.raises(IncusUnavailable):
                await follower
