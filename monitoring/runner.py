"""The agent: follows what happens in Incus and keeps the database true within a second.

Three parts: an event loop that reads Incus' lifecycle events, one thread that looks at what they are
about, one thread that says the agent is alive.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing, suppress
from typing import Final

import structlog
from django.db import DatabaseError, close_old_connections, connection

from coi_web.errors import IncusError
from coi_web.incus import get_streams
from coi_web.operations import recovery
from monitoring.worker import LookingThread
from sessions.reconcile import concerns_us

log = structlog.get_logger(__name__)

HEARTBEAT_S: Final = 5.0
#: Delays between attempts to reach Incus: short at first, since a restart takes about three seconds.
BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 3.0)
#: How long the end may wait for a look that is under way.
STOP_WITHIN_S: Final = 1.0


class Agent:
    """``run`` returns when ``stop`` was called, within two seconds."""

    def __init__(self, *, looking: LookingThread | None = None) -> None:
        self._looking = looking or LookingThread()
        self._stop = asyncio.Event()
        self._stopped = threading.Event()
        self._attempt = 0
        #: Shown on the health page.
        self.detail = "connecting to Incus"

    def stop(self) -> None:
        """From the event loop, as a signal handler."""
        self._stop.set()

    async def run(self) -> None:
        self._looking.start()
        heartbeat = threading.Thread(target=self._beat, name="agent-heartbeat", daemon=True)
        heartbeat.start()
        following = asyncio.create_task(self._follow())
        try:
            await self._stop.wait()
        finally:
            self._stopped.set()
            following.cancel()
            await asyncio.wait([following], timeout=0.3)
            with suppress(TimeoutError):
                await asyncio.wait_for(get_streams().aclose(), timeout=0.2)
            ended = await asyncio.to_thread(self._looking.stop, STOP_WITHIN_S)
            await asyncio.to_thread(heartbeat.join, 0.2)
            log.info("agent-stopped", clean=ended)

    async def _follow(self) -> None:
        while True:
            try:
                await self._read_events()
            except IncusError as error:
                self.detail = "waiting for Incus"
                log.info("agent-lost-incus", detail=error.log_detail, attempt=self._attempt)
            except Exception:  # an edge: whatever a stream can raise must not end the agent
                self.detail = "waiting for Incus"
                log.exception("agent-stream-failed")
            await asyncio.sleep(BACKOFF_S[min(self._attempt, len(BACKOFF_S) - 1)])
            self._attempt += 1

    async def _read_events(self) -> None:
        streams = get_streams()
        async with aclosing(streams.events(on_connected=self._connected)) as events:
            async for event in events:
                if concerns_us(event):
                    self._looking.submit(event)

    def _connected(self) -> None:
        """Nothing can be missed any more: what happened before is found by looking at everything."""
        self._attempt = 0
        self.detail = "following Incus"
        log.info("agent-follows-incus")
        self._looking.submit_everything()

    def _beat(self) -> None:
        try:
            while True:
                try:
                    close_old_connections()
                    recovery.seen("agent", self.detail)
                except DatabaseError as error:
                    log.warning("heartbeat-failed", error=repr(error))
                if self._stopped.wait(HEARTBEAT_S):
                    return
        finally:
            connection.close()
