"""The terminal socket through the whole ASGI application, on the fake engine."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.test import Client

from coi_web.accounts.services import announce_rights_changed, set_user_enabled
from coi_web.asgi import application
from coi_web.audit.models import AuditEvent
from coi_web.errors import IncusNotFound, IncusUnavailable, InstanceFrozen
from coi_web.incus.fake import FakeIncus
from sessions.models import Session
from sessions.services.lifecycle import end_session, kill_session
from sessions.terminals.protocol import CloseCode
from tests.support.cast import Cast
from tests.support.sessions import ready_workspace, run_queued, running_session

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def session(cast: Cast, fake_incus: FakeIncus) -> Session:
    """A running session of ana's in the team shop."""
    owner = cast.actor("owner")
    return running_session(owner, ready_workspace(owner, team=cast.team))


@pytest.fixture
def cookie_of(cast: Cast) -> Callable[[str], str]:
    """Signs one of the cast in and returns the browser's cookie; "" for nobody."""

    def sign_in(name: str) -> str:
        if name == "anonymous":
            return ""
        client = Client()
        client.force_login(cast.people()[name])
        return f"coi_web_session={client.cookies['coi_web_session'].value}"

    return sign_in


@dataclass
class Screen:
    """What a browser has seen and how the socket was closed."""

    socket: WebsocketCommunicator
    output: bytearray = field(default_factory=bytearray)
    frames: list[dict[str, Any]] = field(default_factory=list)
    closed: int | None = None

    async def step(self) -> None:
        message = await self.socket.receive_output(timeout=5)
        if message["type"] == "websocket.close":
            self.closed = message["code"]
        elif message.get("bytes") is not None:
            self.output += message["bytes"]
        else:
            self.frames.append(json.loads(message["text"]))

    async def see(self, text: bytes) -> None:
        while text not in self.output:
            assert self.closed is None, (
                f"closed with {self.closed} before {text!r}; saw {bytes(self.output)!r}"
            )
            await self.step()

    async def see_frame(self, kind: str) -> dict[str, Any]:
        while not (found := [frame for frame in self.frames if frame["type"] == kind]):
            assert self.closed is None, f"closed with {self.closed} before {kind}; saw {self.frames}"
            await self.step()
        return found[-1]

    async def see_close(self) -> int:
        while self.closed is None:
            await self.step()
        return self.closed


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - set by another thread or by the fake
            await asyncio.sleep(0.01)


def address(key: object, query: str = "") -> str:
    return f"/ws/sessions/{key}/terminal/{query}"


@asynccontextmanager
async def opened(path: str, cookie: str, origin: str = "http://testserver") -> AsyncIterator[Screen]:
    headers = [(b"host", b"testserver"), (b"origin", origin.encode()), (b"cookie", cookie.encode())]
    socket = WebsocketCommunicator(application, path, headers=headers)
    accepted, code = await socket.connect(timeout=5)
    assert accepted, f"refused before it was accepted, with {code}"
    try:
        yield Screen(socket)
    finally:
        await socket.disconnect(timeout=5)


async def test_the_owner_types_and_sees_the_answer(
    session: Session, fake_incus: FakeIncus, cookie_of: Callable[[str], str]
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    async with opened(address(session.name, "?cols=132&rows=43"), cookie) as screen:
        assert await screen.see_frame("ready") == {"type": "ready", "shell": "plain", "cols": 132, "rows": 43}
        await screen.socket.send_to(bytes_data=b"echo caf\xc3\xa9 one-$TERM\n")
        await screen.see("café one-xterm-256color".encode())
        terminal = fake_incus.terminals(session.name)[0]
        assert (terminal.request.user, terminal.request.width, terminal.request.height) == (1000, 132, 43)
        assert terminal.request.environment["COI_WEB_TMUX_SESSION"] == f"coi-{session.name}"

        await screen.socket.send_to(text_data='{"type":"resize","cols":100000,"rows":0}')
        await screen.socket.send_to(text_data='{"type":"ping","id":9}')
        assert await screen.see_frame("pong") == {"type": "pong", "id": 9}
        await until(lambda: terminal.sizes[-1] == (1000, 1))

        attached = await AuditEvent.objects.aget(action="terminal.attach")
        assert (attached.actor_name, attached.target_name) == ("ana", session.name)


@pytest.mark.parametrize(
    ("person", "code"),
    [
        ("anonymous", CloseCode.SIGNED_OUT),
        ("disabled", CloseCode.SIGNED_OUT),
        ("stranger", CloseCode.NOT_FOUND),
        ("other", CloseCode.NOT_FOUND),
        ("teammate", CloseCode.FORBIDDEN),
        ("lead", CloseCode.FORBIDDEN),
        ("auditor", CloseCode.FORBIDDEN),
        ("administrator", CloseCode.FORBIDDEN),
    ],
)
async def test_nobody_but_the_owner_gets_in(
    session: Session, fake_incus: FakeIncus, cookie_of: Callable[[str], str], person: str, code: CloseCode
) -> None:
    cookie = await sync_to_async(cookie_of)(person)
    for key in (session.name, session.public_id):
        async with opened(address(key), cookie) as screen:
            assert await screen.see_close() == code
            assert screen.output == b""
    async with opened(address("coi-00000000-1"), cookie) as screen:
        wanted = CloseCode.SIGNED_OUT if code is CloseCode.SIGNED_OUT else CloseCode.NOT_FOUND
        assert await screen.see_close() == wanted
    assert ("open_exec", session.name) not in fake_incus.calls
    refused = await AuditEvent.objects.filter(action="terminal.attach", outcome="refused").acount()
    assert refused == (2 if code is CloseCode.FORBIDDEN else 0)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://testserver.evil.example", "null"])
async def test_a_page_of_another_site_is_refused(
    session: Session, cookie_of: Callable[[str], str], origin: str
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    headers = [(b"host", b"testserver"), (b"origin", origin.encode()), (b"cookie", cookie.encode())]
    socket = WebsocketCommunicator(application, address(session.name), headers=headers)
    accepted, _ = await socket.connect(timeout=5)
    assert not accepted


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("queued", CloseCode.NOT_RUNNING),
        ("starting", CloseCode.NOT_RUNNING),
        ("stopped", CloseCode.NOT_RUNNING),
        ("frozen", CloseCode.NOT_RUNNING),
        ("failed", CloseCode.NOT_RUNNING),
    ],
)
async def test_a_session_that_does_not_run_has_no_terminal(
    session: Session, cookie_of: Callable[[str], str], state: str, code: CloseCode
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    await Session.objects.filter(pk=session.pk).aupdate(state=state)
    async with opened(address(session.name), cookie) as screen:
        assert await screen.see_close() == code


async def test_an_ended_session_says_so(
    session: Session, cast: Cast, cookie_of: Callable[[str], str]
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    await sync_to_async(end_session)(actor=cast.actor("owner"), session=session)
    await sync_to_async(run_queued)()
    async with opened(address(session.public_id), cookie) as screen:
        assert await screen.see_close() == CloseCode.ENDED


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (IncusUnavailable("Incus does not answer."), CloseCode.ENGINE_UNAVAILABLE),
        (IncusNotFound("The container is gone."), CloseCode.NOT_RUNNING),
        (InstanceFrozen("The container is frozen."), CloseCode.NOT_RUNNING),
    ],
    ids=["down", "gone", "frozen"],
)
async def test_an_engine_that_refuses_closes_with_its_code(
    session: Session, fake_incus: FakeIncus, cookie_of: Callable[[str], str], error: Any, code: CloseCode
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    fake_incus.behave("open_exec", fails=error, times=1)
    async with opened(address(session.name), cookie) as screen:
        assert await screen.see_close() == code
    async with opened(address(session.name), cookie) as screen:
        await screen.see(b"$ ")


async def test_an_engine_that_restarts_asks_the_browser_to_come_back(
    session: Session, fake_incus: FakeIncus, cookie_of: Callable[[str], str]
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    async with opened(address(session.name), cookie) as screen:
        await screen.see(b"$ ")
        fake_incus.drop_connections()
        assert await screen.see_close() == CloseCode.ENGINE_UNAVAILABLE


async def test_leaving_the_shell_closes_with_its_code(
    session: Session, cookie_of: Callable[[str], str]
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    async with opened(address(session.name), cookie) as screen:
        await screen.see(b"$ ")
        await screen.socket.send_to(bytes_data=b"exit 3\n")
        assert await screen.see_frame("exit") == {"type": "exit", "code": 3}
        assert await screen.see_close() == CloseCode.NORMAL


@pytest.mark.parametrize(
    "frame",
    [
        {"text_data": "{broken"},
        {"text_data": '{"type":"sudo"}'},
        {"text_data": '{"type":"ack","bytes":1000000}'},
        {"text_data": '{"type":"resize","cols":"80","rows":24}'},
        {"text_data": "x" * 10_000_000},
        {"bytes_data": b"x" * 10_000_000},
    ],
    ids=["broken", "unknown", "ack-beyond-sent", "no-number", "long-text", "long-bytes"],
)
async def test_a_frame_against_the_protocol_closes_the_socket(
    session: Session, fake_incus: FakeIncus, cookie_of: Callable[[str], str], frame: dict[str, Any]
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    async with opened(address(session.name), cookie) as screen:
        await screen.see(b"$ ")
        terminal = fake_incus.terminals(session.name)[0]
        await screen.socket.send_to(**frame)
        assert await screen.see_close() == CloseCode.PROTOCOL_ERROR
        assert terminal.input == b""


async def test_places_for_terminals_are_limited_and_come_back(
    session: Session, cookie_of: Callable[[str], str], settings: Any
) -> None:
    settings.COI_MAX_TERMINALS_PER_USER = 2
    settings.COI_MAX_TERMINALS_PER_SESSION = 5
    cookie = await sync_to_async(cookie_of)("owner")
    path = address(session.name)
    async with opened(path, cookie) as one, opened(path, cookie) as two:
        await one.see(b"$ ")
        await two.see(b"$ ")
        async with opened(path, cookie) as three:
            assert await three.see_close() == CloseCode.TOO_MANY
    settings.COI_MAX_TERMINALS_PER_SESSION = 1
    async with opened(path, cookie) as one:
        await one.see(b"$ ")
        async with opened(path, cookie) as two:
            assert await two.see_close() == CloseCode.TOO_MANY


async def test_disabling_somebody_closes_their_terminals_at_once(
    session: Session, cast: Cast, cookie_of: Callable[[str], str]
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    async with opened(address(session.name), cookie) as screen:
        await screen.see(b"$ ")
        # Rights that change without touching this terminal leave it open.
        await sync_to_async(announce_rights_changed)(cast.owner)
        await screen.socket.send_to(bytes_data=b"echo still-here\n")
        await screen.see(b"still-here")
        await sync_to_async(set_user_enabled)(
            actor=cast.actor("administrator"), user=cast.owner, enabled=False
        )
        assert await screen.see_close() == CloseCode.SIGNED_OUT


async def test_killing_the_session_closes_its_terminals(
    session: Session, cast: Cast, cookie_of: Callable[[str], str]
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    async with opened(address(session.name), cookie) as screen:
        await screen.see(b"$ ")
        await sync_to_async(kill_session)(actor=cast.actor("owner"), session=session)
        await sync_to_async(run_queued)()
        assert await screen.see_close() in (CloseCode.ENDED, CloseCode.NOT_RUNNING)
    async with opened(address(session.public_id), cookie) as screen:
        assert await screen.see_close() == CloseCode.ENDED


async def test_a_slow_database_does_not_freeze_typing(
    session: Session, cookie_of: Callable[[str], str]
) -> None:
    cookie = await sync_to_async(cookie_of)("owner")
    async with opened(address(session.name), cookie) as screen:
        await screen.see(b"$ ")
        busy, done = threading.Event(), threading.Event()

        def slow_query() -> None:
            busy.set()
            assert done.wait(10)

        query = asyncio.create_task(database_sync_to_async(slow_query)())
        try:
            await until(busy.is_set)
            await screen.socket.send_to(bytes_data=b"echo typed-meanwhile\n")
            await screen.see(b"\r\ntyped-meanwhile")
            assert not query.done()
        finally:
            done.set()
            await query
