"""The sockets of the permission table, each asked as every one of the cast through the whole ASGI application."""

from __future__ import annotations

from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.test import Client

from coi_web.asgi import application
from coi_web.routing import websocket_urlpatterns
from sessions.models import Session
from tests.support.cast import Cast
from tests.support.sessions import ready_workspace, running_session
from tests.web.permissions import ACCEPTED, CAST, SOCKETS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def session(cast: Cast) -> Session:
    owner = cast.actor("owner")
    return running_session(owner, ready_workspace(owner, team=cast.team))


def test_every_socket_has_a_row() -> None:
    assert {str(one.pattern) for one in websocket_urlpatterns} == {row.route for row in SOCKETS}
    for row in SOCKETS:
        assert set(row.expect) == set(CAST), row.route


@pytest.mark.parametrize("who", CAST)
async def test_sockets(who: str, cast: Cast, session: Session) -> None:
    cookie = await database_sync_to_async(_cookie)(cast, who)
    wrong = []
    for row in SOCKETS:
        answer = await _answer(row.path.format(session=session.name), cookie)
        if answer != row.expect[who]:
            wrong.append(f"{row.path}: expected {row.expect[who]}, got {answer}")
    assert not wrong, f"{who}: {'; '.join(wrong)}"


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"http://testserver.evil.example",
        b"http://testserver:81",
        b"null",
        b"file://",
    ],
)
async def test_other_origins_are_refused_before_anything_else(
    origin: bytes, cast: Cast, session: Session
) -> None:
    """The owner's own cookie does not help a page of another site."""
    cookie = await database_sync_to_async(_cookie)(cast, "owner")
    for row in SOCKETS:
        socket = _socket(row.path.format(session=session.name), cookie, origin)
        accepted, code = await socket.connect(timeout=5)
        assert (accepted, code) == (False, 4403), row.path


def _cookie(cast: Cast, who: str) -> bytes:
    if who == "anonymous":
        return b""
    client = Client()
    client.force_login(cast.people()[who])
    return f"coi_web_session={client.cookies['coi_web_session'].value}".encode()


def _socket(path: str, cookie: bytes, origin: bytes) -> WebsocketCommunicator:
    headers = [(b"host", b"testserver"), (b"origin", origin), (b"cookie", cookie)]
    return WebsocketCommunicator(application, path, headers=headers)


async def _answer(path: str, cookie: bytes) -> Any:
    """ACCEPTED once it has sent something, else the close code before or after accepting."""
    socket = _socket(path, cookie, b"http://testserver")
    accepted, code = await socket.connect(timeout=5)
    if not accepted:
        return code
    first = await socket.receive_output(timeout=5)
    await socket.disconnect(timeout=5)
    return first["code"] if first["type"] == "websocket.close" else ACCEPTED
