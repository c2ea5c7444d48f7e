"""What all handlers share: their row, what they see, and undoing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog
from django.db import transaction

from coi_web.accounts.models import User
from coi_web.audit.actors import SYSTEM, Actor
from coi_web.errors import CoiError, Conflict, IncusUnavailable
from coi_web.operations.models import Operation
from coi_web.operations.runner import Cancelled, OperationContext, Overtaken
from sessions.models import Session, Workspace
from sessions.states import Observed
from sessions.transitions import advance

log = structlog.get_logger(__name__)


def actor_of(operation: Operation) -> Actor:
    """Who asked for it."""
    if operation.requester is None and operation.requester_name == SYSTEM.name:
        return SYSTEM
    requester: User | None = operation.requester
    return Actor(kind="user", name=operation.requester_name, user=requester, request_id=operation.request_id)


def session_of(context: OperationContext) -> Session:
    """The session to work on, shown as begun; raises Conflict where it is over."""
    with transaction.atomic():
        session = lock_session(context.operation.target_id)
        if session is None or not session.is_live:
            raise Conflict(
                f"{context.operation.target_name} is over already. Start a new session.", code="session-over"
            )
        advance(session, by=actor_of(context.operation), reason="a worker began", operation=context.operation)
    return session


def lock_session(public_id: str) -> Session | None:
    """The row, locked until the transaction ends."""
    return (
        Session.objects.select_for_update(of=("self",), no_key=True)
        .select_related("operation", "owner", "team", "workspace")
        .filter(public_id=public_id)
        .first()
    )


def workspace_of(session: Session) -> Workspace:
    assert session.workspace is not None, "a live session has a workspace: constraint of the database"
    return session.workspace


def see(context: OperationContext, session: Session, observed: Observed) -> None:
    """Write down what the container has become, so that it is known whatever happens next."""
    if session.observed_state == observed:
        return
    with transaction.atomic():
        locked = lock_session(str(session.public_id))
        if locked is not None and locked.is_live:
            advance(locked, by=actor_of(context.operation), reason="seen in Incus", observed=observed)
    session.observed_state = observed.value


@contextmanager
def undone_on_failure(context: OperationContext, undo: Callable[[], None]) -> Iterator[None]:
    """Undo what a step left behind when it fails or is cancelled, then raise what went wrong first.

    Not undone: work that another run took over, and work that waits for the engine to come back.
    """
    try:
        yield
    except (Overtaken, IncusUnavailable):
        raise
    except Exception:
        try:
            _require_claim(context)
            undo()
        except CoiError as error:  # reconcile removes what is left
            log.warning(
                "undo-failed", target=context.operation.target_name, code=error.code, detail=error.log_detail
            )
        raise


def _require_claim(context: OperationContext) -> None:
    """Raises Overtaken where another run owns the operation."""
    with suppress(Cancelled):
        context.check_cancelled()


def watched(context: OperationContext, call: Callable[[], None], tick: Callable[[float], None]) -> None:
    """Run a call that takes long in a thread, so that a cancellation is obeyed meanwhile.

    ``tick`` is called about twice a second with the seconds passed.  When it or the cancellation raises,
    the call is left to its own time limit.
    """
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # handed to the caller below
            outcome.append(error)

    thread = threading.Thread(target=run, name=f"watched-{context.operation.public_id}", daemon=True)
    thread.start()
    passed = 0.0
    while True:
        thread.join(timeout=TICK_S)
        if not thread.is_alive():
            break
        passed += TICK_S
        tick(passed)
        context.check_cancelled()
    if outcome:
        raise outcome[0]


TICK_S = 0.5
