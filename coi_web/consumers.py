"""The live socket ``/ws/live/``: hints to one signed-in person."""

from __future__ import annotations

from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from coi_web.accounts.access import team_ids
from coi_web.audit.actors import Actor
from coi_web.live import ADMINISTRATORS, AUDITORS, team_group, user_group
from coi_web.requests import scope_actor

SIGNED_OUT = 4401
#: Rights changed: come back at once, with the new ones.
RIGHTS_CHANGED = 4412


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """Sends ``{"type": …, "id": …, "extra": …}``; takes ``ping`` only.  Closes when rights change."""

    async def connect(self) -> None:
        self.joined: list[str] = []
        await self.accept()
        actor = scope_actor(self.scope)
        if actor.user is None:
            await self.close(SIGNED_OUT)
            return
        self.joined = await database_sync_to_async(_groups_of)(actor)
        for group in self.joined:
            await self.channel_layer.group_add(group, self.channel_name)
        await self.send_json({"type": "hello", "id": actor.name})

    async def disconnect(self, code: int) -> None:
        for group in self.joined:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Nothing that a page sends matters here but keeping the connection alive."""
        if text_data == "ping":
            await self.send(text_data='{"type": "pong", "id": ""}')

    async def live_hint(self, message: dict[str, Any]) -> None:
        if message["event"] == "accounts.revoked":
            await self.close(RIGHTS_CHANGED)
            return
        await self.send_json({"type": message["event"], "id": message["id"], "extra": message["extra"]})


def _groups_of(actor: Actor) -> list[str]:
    user = actor.require_user()
    groups = [user_group(user.pk), *(team_group(pk) for pk in team_ids(user))]
    if user.is_superuser:
        groups.append(ADMINISTRATORS)
    if user.is_auditor:
        groups.append(AUDITORS)
    return groups


class NoSuchSocket(AsyncJsonWebsocketConsumer):
    """Every other address: refused before accept, which a browser sees as HTTP 403."""

    async def connect(self) -> None:
        await self.close()
