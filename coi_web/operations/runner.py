"""Running one operation: claim, heartbeat, progress, outcome.  Called by the worker's task."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import structlog
from django.db import close_old_connections, connection, transaction
from django.utils import timezone

from coi_web.errors import CoiError, IncusUnavailable
from coi_web.incus import get_api
from coi_web.incus.api import IncusApi
from coi_web.operations.models import Operation
from coi_web.operations.registry import Handler, handler_of_row
from coi_web.operations.services import announce

log = structlog.get_logger(__name__)

HEARTBEAT_S = 2.0
PROGRESS_INTERVAL_S = 0.5
#: How long an operation waits for an engine that does not answer before it fails.
PATIENCE = timedelta(seconds=90)
RETRY_AFTER = timedelta(seconds=3)


class Cancelled(CoiError):
    default_code = "cancelled"
    status = 409


class Overtaken(Exception):
    pass


class OperationContext:
    """What a handler sees of its operation.

    ``progress`` and ``check_cancelled`` raise Cancelled when somebody asked for it and Overtaken when this
    run no longer owns the row; handlers let both pass.
    """

    def __init__(self, operation: Operation, claim: uuid.UUID) -> None:
        self.operation = operation
        self.claim = claim
        self._written_at = 0.0

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.operation.parameters)

    @property
    def incus(self) -> IncusApi:
        return get_api()

    def progress(self, step: str, percent: int | None = None, message: str = "") -> None:
        """Write the step; inside one step at most twice a second.  ``percent`` is 0 to 100 or unknown."""
        now = time.monotonic()
        if step == self.operation.step and now - self._written_at < PROGRESS_INTERVAL_S:
            return
        self._written_at = now
        self.operation.step, self.operation.percent, self.operation.message = step, percent, message[:300]
        self._write(step=step, percent=percent, message=message[:300], heartbeat_at=timezone.now())
        self.check_cancelled()

    def check_cancelled(self) -> None:
        row = Operation.objects.filter(pk=self.operation.pk).values("claim", "cancel_requested_at").get()
        if row["claim"] != self.claim:
            raise Overtaken
        if row["cancel_requested_at"] is not None:
            raise Cancelled("Cancelled.")

    def _write(self, **fields: Any) -> None:
        with transaction.atomic():
            won = Operation.objects.filter(
                pk=self.operation.pk, claim=self.claim, state=Operation.State.RUNNING
            ).update(**fields)
            if not won:
                raise Overtaken
            announce(self.operation)


def run(public_id: str) -> None:
    """Claim and run; does nothing where the operation is not queued, not due, or another run was faster."""
    claim, now = uuid.uuid4(), timezone.now()
    won = Operation.objects.filter(
        public_id=public_id, state=Operation.State.QUEUED, not_before_at__lte=now
    ).update(state=Operation.State.RUNNING, claim=claim, heartbeat_at=now, started_at=now)
    if not won:
        return
    operation = Operation.objects.get(public_id=public_id)
    Operation.objects.filter(pk=operation.pk).update(attempts=operation.attempts + 1)
    operation.attempts += 1
    announce(operation)
    handler = handler_of_row(operation.kind)
    context = OperationContext(operation, claim)
    structlog.contextvars.bind_contextvars(operation=public_id, request_id=operation.request_id)
    try:
        with _heartbeat(operation, claim):
            context.check_cancelled()
            result = handler.run(context)
        finish(operation, handler, claim, Operation.State.SUCCEEDED, result=result)
    except Overtaken:
        log.info("operation-overtaken")
    except Cancelled as error:
        finish(operation, handler, claim, Operation.State.CANCELLED, error=error)
    except IncusUnavailable as error:
        if not _try_later(operation, claim, error):
            finish(operation, handler, claim, Operation.State.FAILED, error=error)
    except CoiError as error:
        log.info("operation-failed", kind=operation.kind, code=error.code, detail=error.log_detail)
        finish(operation, handler, claim, Operation.State.FAILED, error=error)
    except Exception as error:  # an edge: recorded, logged once with its trace, and ended cleanly
        log.exception("operation-crashed", kind=operation.kind)
        unexpected = CoiError(
            "Something went wrong that the panel did not expect. Try again; an administrator finds the details "
            f"in the worker's log under operation {public_id}.",
            code="internal-error",
            log_detail=repr(error),
        )
        finish(operation, handler, claim, Operation.State.FAILED, error=unexpected)
    finally:
        structlog.contextvars.unbind_contextvars("operation", "request_id")


def finish(
    operation: Operation,
    handler: Handler,
    claim: uuid.UUID | None,
    state: str,
    *,
    result: dict[str, Any] | None = None,
    error: CoiError | None = None,
) -> bool:
    """Write the outcome and what it means for the target in one transaction; False if another run owns it."""
    with transaction.atomic():
        won = Operation.objects.filter(pk=operation.pk, claim=claim, state__in=Operation.ACTIVE).update(
            state=state,
            finished_at=timezone.now(),
            result=result or {},
            percent=100 if state == Operation.State.SUCCEEDED else operation.percent,
            error_code="" if error is None else error.code,
            error_message="" if error is None else error.message,
        )
        if not won:
            return False
        operation.refresh_from_db()
        handler.settle(operation)
        announce(operation)
    return True


def _try_later(operation: Operation, claim: uuid.UUID, error: CoiError) -> bool:
    """Back into the queue while the engine may still come back; False when patience has run out."""
    now = timezone.now()
    if now - operation.created_at > PATIENCE:
        return False
    with transaction.atomic():
        won = Operation.objects.filter(pk=operation.pk, claim=claim, state=Operation.State.RUNNING).update(
            state=Operation.State.QUEUED,
            claim=None,
            not_before_at=now + RETRY_AFTER,
            message="Incus does not answer; trying again.",
        )
        if won:
            operation.refresh_from_db()
            announce(operation)
    log.info("operation-waits-for-incus", detail=error.log_detail)
    return True


@contextmanager
def _heartbeat(operation: Operation, claim: uuid.UUID) -> Iterator[None]:
    """Say every two seconds that this run is alive, from a thread of its own: handlers may block."""
    stop = threading.Event()

    def beat() -> None:
        try:
            while not stop.wait(HEARTBEAT_S):
                try:
                    Operation.objects.filter(pk=operation.pk, claim=claim).update(heartbeat_at=timezone.now())
                except Exception as error:  # a busy database now is no reason to stop beating
                    log.warning("heartbeat-failed", error=repr(error))
                    close_old_connections()
        finally:
            connection.close()

    thread = threading.Thread(target=beat, name=f"heartbeat-{operation.public_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
