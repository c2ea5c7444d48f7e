"""The terminal socket ``/ws/sessions/<name or id>/terminal/?cols=&rows=``: asks who may, then hands over.

Every refusal is accepted first and then closed with a code of ``protocol.CloseCode``, since a browser
cannot read why a handshake failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import structlog
from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer

from coi_web.audit.actors import Actor
from coi_web.errors import CoiError, SignedOut
from coi_web.incus import ExecStream, get_streams
from coi_web.live import object_group, user_group
from coi_web.requests import scope_actor
from sessions.models import Session
from sessions.states import State
from sessions.terminals import attach, protocol
from sessions.terminals.bridge import Bridge, Ending, close_code_of
from sessions.terminals.launch import shell_request
from sessions.terminals.protocol import CloseCode, ServerFrame

log = structlog.get_logger(__name__)

Message = MutableMapping[str, Any]

#: Rights are asked again this often even when no hint came: the channel layer may lose one.
RECHECK_S = 60.0
_OVER = {State.ENDED.value, State.LOST.value}


class TerminalConsumer(AsyncConsumer):
    """One terminal.

    Channels would pass each message through the one thread that all database work of the process
    shares, and would take no event while a message is handled; so ``__call__`` runs both loops itself
    and terminal bytes meet nothing but the bridge.
    """

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.scope, self.receive, self.base_send = scope, receive, send
        self._gone = False
        if (await receive())["type"] != "websocket.connect":
            return
        await send({"type": "websocket.accept"})
        try:
            await self._attend()
        except CoiError as error:
            log.info("terminal.refused", code=error.code, detail=error.log_detail)
            await self._close(Ending(close_code_of(error), error.code))
        except Exception:
            log.exception("terminal.failed")
            await self._close(Ending(CloseCode.INTERNAL_ERROR, "unexpected"))

    async def _attend(self) -> None:
        actor = scope_actor(dict(self.scope))
        key: str = self.scope["url_route"]["kwargs"]["key"]
        if actor.user is None:
            raise SignedOut("You are signed out. Sign in to go on.")
        session = await database_sync_to_async(attach.session_to_attach)(actor, key)
        try:
            with attach.counted(actor, session):
                await database_sync_to_async(attach.record_attach)(actor, session)
                await self._join(actor, session)
        except CoiError as error:
            await database_sync_to_async(attach.record_refusal)(actor, session, error)
            raise

    async def _join(self, actor: Actor, session: Session) -> None:
        query = parse_qs(self.scope.get("query_string", b"").decode("latin-1"), max_num_fields=10)
        cols, rows = protocol.size_from_query(query.get("cols", [None])[0], query.get("rows", [None])[0])

        async def open_stream(cols: int, rows: int) -> ExecStream:
            return await get_streams().open_exec(
                session.name, shell_request(session.name, cols=cols, rows=rows)
            )

        async def close(ending: Ending) -> None:
            if ending.code in (CloseCode.NORMAL, CloseCode.ENGINE_UNAVAILABLE) and not self._gone:
                reason = await database_sync_to_async(attach.why_over)(session)
                ending = replace(ending, code=reason or ending.code)
            await self._close(ending)

        bridge = Bridge(
            open_stream=open_stream,
            send_bytes=self._send_bytes,
            send_json=self._send_json,
            close=close,
            cols=cols,
            rows=rows,
        )
        beside = [
            asyncio.create_task(self._listen(bridge)),
            asyncio.create_task(self._follow(bridge, actor, session)),
            asyncio.create_task(self._recheck_regularly(bridge, actor, session)),
        ]
        ending = Ending(CloseCode.INTERNAL_ERROR, "cancelled")
        try:
            ending = await bridge.run()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            log.info("terminal.closed", session=session.name, code=int(ending.code), detail=ending.detail)
            data = {"reason": ending.code.reason, "bytes": bridge.window.sent}
            await database_sync_to_async(attach.record_detach)(actor, session, data)

    async def _listen(self, bridge: Bridge) -> None:
        """Pass on what the browser sends.  Nothing in here may wait for the database."""
        while True:
            message = await self.receive()
            if message["type"] == "websocket.disconnect":
                self._gone = True
                bridge.end(CloseCode.NORMAL, f"browser left with {message.get('code')}")
                return
            data = message.get("bytes")
            if data is not None:
                await bridge.feed_bytes(data)
            else:
                bridge.feed_text(message.get("text") or "")

    async def _follow(self, bridge: Bridge, actor: Actor, session: Session) -> None:
        """Act on hints about the person and the session; without a channel layer only ask regularly."""
        layer = get_channel_layer()
        groups = [user_group(actor.require_user().pk), object_group("session", session.public_id)]
        while layer is not None:
            channel = await layer.new_channel()
            try:
                for group in groups:
                    await layer.group_add(group, channel)
                # Whatever happened before the groups were joined has left no hint.
                await self._recheck(bridge, actor, session)
                while True:
                    await self._take_hint(bridge, actor, session, await layer.receive(channel))
            except Exception as error:
                # An edge: whatever a broken Redis makes the layer raise, the terminal itself goes on.
                log.warning("terminal.hints-lost", error=repr(error))
                await asyncio.sleep(1)
            finally:
                with suppress(Exception):
                    for group in groups:
                        await layer.group_discard(group, channel)

    async def _take_hint(self, bridge: Bridge, actor: Actor, session: Session, hint: Message) -> None:
        if hint["event"] == "accounts.revoked":
            await self._recheck(bridge, actor, session)
        elif hint["event"].startswith("session.") and hint["id"] == str(session.public_id):
            state = str(hint["extra"].get("state", ""))
            # The user's group gets the same change as "session.changed".
            if hint["event"] == "session.changed":
                return
            bridge.tell({"type": "state", "state": state})
            if state in _OVER:
                bridge.end(CloseCode.ENDED, f"session {state}")

    async def _recheck_regularly(self, bridge: Bridge, actor: Actor, session: Session) -> None:
        while True:
            await asyncio.sleep(RECHECK_S)
            await self._recheck(bridge, actor, session)

    async def _recheck(self, bridge: Bridge, actor: Actor, session: Session) -> None:
        try:
            await database_sync_to_async(attach.check_still)(
                actor, self.scope["session"].session_key, str(session.public_id)
            )
        except CoiError as error:
            bridge.end(close_code_of(error), f"no longer allowed: {error.code}")
        except Exception:
            # The database does not answer: asked again within RECHECK_S, and the terminal goes on.
            log.exception("terminal.recheck-failed")

    async def _send_bytes(self, data: bytes) -> None:
        await self.base_send({"type": "websocket.send", "bytes": data})

    async def _send_json(self, frame: ServerFrame) -> None:
        await self.base_send({"type": "websocket.send", "text": protocol.dump(frame)})

    async def _close(self, ending: Ending) -> None:
        with suppress(Exception):  # every server raises its own kind when the browser has gone
            await self.base_send(
                {"type": "websocket.close", "code": int(ending.code), "reason": ending.code.reason}
            )
