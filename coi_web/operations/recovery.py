"""What makes operations survive: lost messages are sent again, work of dead workers is done again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from coi_web.errors import CoiError
from coi_web.operations.models import Component, Operation
from coi_web.operations.registry import handler_of_row
from coi_web.operations.runner import finish
from coi_web.operations.services import announce, dispatch_on_commit

log = structlog.get_logger(__name__)

#: Five missed heartbeats.
STALE_AFTER = timedelta(seconds=10)
#: A message that nobody took for this long is sent again; taking it twice is harmless.
RESEND_AFTER = timedelta(seconds=8)
MOST_CRASHES = 5
#: Finished operations are kept this long; the audit log keeps what was done.
KEEP = timedelta(days=90)


def recover() -> int:
    """One sweep; returns how many operations it touched.  Safe to run at any time, several at once."""
    return _requeue_stale() + _resend_due()


def _requeue_stale() -> int:
    now, touched = timezone.now(), 0
    stale = Operation.objects.filter(state=Operation.State.RUNNING, heartbeat_at__lt=now - STALE_AFTER)
    for operation in stale:
        if operation.attempts >= MOST_CRASHES:
            touched += _give_up(operation)
            continue
        with transaction.atomic():
            won = Operation.objects.filter(
                pk=operation.pk, claim=operation.claim, state=Operation.State.RUNNING
            ).update(
                state=Operation.State.QUEUED, claim=None, not_before_at=now, dispatched_at=now,
                message="Interrupted; beginning again.",
            )  # fmt: skip
            if won:
                touched += 1
                operation.refresh_from_db()
                announce(operation)
                dispatch_on_commit(operation)
                log.warning(
                    "operation-requeued", operation=str(operation.public_id), attempts=operation.attempts
                )
    return touched


def _give_up(operation: Operation) -> bool:
    error = CoiError(
        "The worker died several times during this operation. Try again; if it happens again, "
        "an administrator finds the reason in the worker's log.",
        code="interrupted",
    )
    handler = handler_of_row(operation.kind)
    try:
        return finish(operation, handler, operation.claim, Operation.State.FAILED, error=error)
    except Exception:  # an edge: one row that cannot be settled must not keep all others from recovering
        log.exception("operation-not-settled", operation=str(operation.public_id), kind=operation.kind)
        bare = replace(handler, settle=lambda operation: None)
        return finish(operation, bare, operation.claim, Operation.State.FAILED, error=error)


def _resend_due() -> int:
    """What nobody took for a while, and what became due since it was sent last."""
    now, touched = timezone.now(), 0
    due = Operation.objects.filter(
        Q(dispatched_at__lt=now - RESEND_AFTER) | Q(attempts__gt=0, dispatched_at__lt=F("not_before_at")),
        state=Operation.State.QUEUED,
        not_before_at__lte=now,
    )
    for operation in due:
        with transaction.atomic():
            won = Operation.objects.filter(
                pk=operation.pk, state=Operation.State.QUEUED, dispatched_at=operation.dispatched_at
            ).update(dispatched_at=now)
            if won:
                touched += 1
                dispatch_on_commit(operation)
    return touched


def prune() -> int:
    """Delete operations that ended 90 days ago."""
    return Operation.objects.filter(finished_at__lt=timezone.now() - KEEP).delete()[0]


def seen(component: str, detail: str = "") -> None:
    """Note that a process of the panel is alive."""
    Component.objects.update_or_create(name=component, defaults={"seen_at": timezone.now(), "detail": detail})
