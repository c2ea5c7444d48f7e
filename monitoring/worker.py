"""The agent's blocking half: one thread that asks Incus and writes to the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from django.db import DatabaseError, close_old_connections, connection

from coi_web.errors import CoiError, IncusUnavailable
from coi_web.incus.types import LifecycleEvent
from sessions.reconcile import handle_lifecycle_event, reconcile

log = structlog.get_logger(__name__)

#: Above this many things to look at one by one, one look at everything is cheaper.
MOST_PENDING: Final = 200
RETRY_AFTER_S: Final = 2.0


class LookingThread:
    """Looks at what it is told, the newest event per name only, and at everything when asked.

    Work that meets an engine or a database that is away is done again later.  A daemon thread: it must
    never delay the end of the process.
    """

    def __init__(
        self,
        *,
        look: Callable[[LifecycleEvent], None] = handle_lifecycle_event,
        look_at_everything: Callable[[], object] = reconcile,
        retry_after_s: float = RETRY_AFTER_S,
    ) -> None:
        self._look = look
        self._look_at_everything = look_at_everything
        self._retry_after_s = retry_after_s
        self._condition = threading.Condition()
        self._pending: dict[str, LifecycleEvent] = {}
        self._everything = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="agent-looks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """True where the thread ended within the time."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, event: LifecycleEvent) -> None:
        """Never waits."""
        with self._condition:
            if self._everything:
                return
            self._pending[event.name] = event
            if len(self._pending) > MOST_PENDING:
                self._pending.clear()
                self._everything = True
            self._condition.notify()

    def submit_everything(self) -> None:
        """Never waits; includes whatever is pending."""
        with self._condition:
            self._pending.clear()
            self._everything = True
            self._condition.notify()

    def _run(self) -> None:
        try:
            while (event := self._next()) is not _STOP:
                self._do(event)
        finally:
            connection.close()

    def _next(self) -> LifecycleEvent | object | None:
        """The next event, None for everything, _STOP at the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopping or self._everything or self._pending)
            if self._stopping:
                return _STOP
            if self._everything:
                self._everything = False
                return None
            return self._pending.pop(next(iter(self._pending)))

    def _do(self, event: LifecycleEvent | object | None) -> None:
        close_old_connections()
        try:
            if isinstance(event, LifecycleEvent):
                self._look(event)
            else:
                self._look_at_everything()
        except (IncusUnavailable, DatabaseError) as error:
            log.info("agent-looks-again-later", error=repr(error))
            self.submit_everything()
            self._pause()
        except CoiError as error:
            log.warning("agent-could-not-look", code=error.code, detail=error.log_detail)

    def _pause(self) -> None:
        deadline = time.monotonic() + self._retry_after_s
        with self._condition:
            self._condition.wait_for(lambda: self._stopping, timeout=deadline - time.monotonic())


_STOP = object()
