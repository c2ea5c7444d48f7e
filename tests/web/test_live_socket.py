"""The live socket: who hears of what, after the commit, and what ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.db import transaction
from django.test import Client

from coi_web.accounts.models import User
from coi_web.accounts.services import set_user_enabled
from coi_web.accounts.team_services import remove_member
from coi_web.asgi import application
from coi_web.live import LiveEvent, publish, publish_on_commit, user_group
from sessions.services.workspaces import create_workspace
from tests.support.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)


@asynccontextmanager
async def listening(cast: Cast, who: str) -> AsyncIterator[WebsocketCommunicator]:
    """Connected and greeted: from here on every hint arrives."""

    def cookie() -> bytes:
        client = Client()
        client.force_login(cast.people()[who])
        return f"coi_web_session={client.cookies['coi_web_session'].value}".encode()

    headers = [
        (b"host", b"testserver"),
        (b"origin", b"http://testserver"),
        (b"cookie", await database_sync_to_async(cookie)()),
    ]
    socket = WebsocketCommunicator(application, "/ws/live/", headers=headers)
    assert (await socket.connect(timeout=5))[0]
    assert await socket.receive_json_from(timeout=5) == {"type": "hello", "id": cast.people()[who].username}
    try:
        yield socket
    finally:
        await socket.disconnect(timeout=5)


async def _heard(socket: WebsocketCommunicator, user: User) -> list[dict[str, Any]]:
    """All hints so far: one more is sent to this person, and what was sent before it comes before it."""
    await database_sync_to_async(publish)([user_group(user.pk)], LiveEvent("test.end", ""))
    found = []
    while (message := await socket.receive_json_from(timeout=5))["type"] != "test.end":
        found.append(message)
    return found


@pytest.mark.parametrize(
    ("who", "hears"),
    [
        ("owner", True), ("teammate", True), ("lead", True), ("auditor", True), ("administrator", True),
        ("other", False), ("stranger", False),
    ],
)  # fmt: skip
async def test_who_hears_of_a_change(who: str, hears: bool, cast: Cast) -> None:
    async with listening(cast, who) as socket:

        def change() -> None:
            create_workspace(actor=cast.actor("owner"), name="shop", team=cast.team)

        await database_sync_to_async(change)()
        kinds = {one["type"] for one in await _heard(socket, cast.people()[who])}
        assert kinds == ({"workspace.changed", "operation.changed"} if hears else set())


async def test_a_hint_comes_after_the_commit_and_not_without_one(cast: Cast) -> None:
    async with listening(cast, "owner") as socket:

        def undone() -> None:
            with pytest.raises(RuntimeError), transaction.atomic():
                publish_on_commit([user_group(cast.owner.pk)], LiveEvent("test.undone", "1"))
                raise RuntimeError

        def done() -> None:
            with transaction.atomic():
                publish_on_commit([user_group(cast.owner.pk)], LiveEvent("test.done", "2", {"state": "x"}))

        await database_sync_to_async(undone)()
        await database_sync_to_async(done)()
        assert await _heard(socket, cast.owner) == [{"type": "test.done", "id": "2", "extra": {"state": "x"}}]


async def test_it_closes_when_rights_change(cast: Cast) -> None:
    """The page comes back at once with the new rights, or not at all."""
    admin = cast.actor("administrator")
    async with listening(cast, "owner") as owner, listening(cast, "teammate") as teammate:
        await database_sync_to_async(set_user_enabled)(actor=admin, user=cast.owner, enabled=False)
        assert await owner.receive_output(timeout=5) == {"type": "websocket.close", "code": 4412}
        assert await _heard(teammate, cast.teammate) == []
        await database_sync_to_async(remove_member)(actor=admin, team=cast.team, username="ben")
        assert (await teammate.receive_output(timeout=5))["code"] == 4412


@pytest.mark.parametrize("junk", [" ", "{", '{"type": "join", "group": "coi.administrators"}', "x" * 100_000])
async def test_what_a_page_sends_changes_nothing(junk: str, cast: Cast) -> None:
    async with listening(cast, "stranger") as socket:
        await socket.send_to(text_data=junk)
        await socket.send_to(bytes_data=junk.encode())
        await socket.send_to(text_data="ping")
        assert await socket.receive_json_from(timeout=5) == {"type": "pong", "id": ""}
        assert await _heard(socket, cast.stranger) == []


def test_a_broken_channel_layer_breaks_no_change(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        async def group_send(self, group: str, message: object) -> None:
            raise ConnectionError("redis is away")

    monkeypatch.setattr("coi_web.live.get_channel_layer", Broken)
    workspace, _ = create_workspace(actor=cast.actor("owner"), name="shop")
    workspace.refresh_from_db()
    assert workspace.state == "ready", "the operation ran, only the hints were lost"
