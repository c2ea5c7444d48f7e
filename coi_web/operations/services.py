"""Creating, cancelling and ending operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone

from coi_web.audit.actors import Actor
from coi_web.audit.services import Target, record, refusals_recorded
from coi_web.errors import Conflict, Forbidden
from coi_web.live import ADMINISTRATORS, AUDITORS, LiveEvent, publish_on_commit, team_group, user_group
from coi_web.operations.models import Operation
from coi_web.operations.registry import handler_for, handler_of_row, title_of

if TYPE_CHECKING:
    from coi_web.accounts.models import Team, User

log = structlog.get_logger(__name__)


def create_operation(
    *,
    actor: Actor,
    kind: str,
    target: Target,
    owner: User | None,
    team: Team | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> tuple[Operation, bool]:
    """The new operation and True, or the one of the same kind that is under way and False.

    Call it inside the transaction of the change.  The work is dispatched on commit.
    Raises Conflict (``busy``) while another kind of operation works on the target.
    ``parameters`` must be JSON, validated, and free of secrets.
    """
    handler_for(kind)
    try:
        with transaction.atomic():
            operation = Operation.objects.create(
                kind=kind,
                requester=actor.user,
                requester_name=actor.name,
                owner=owner,
                team=team,
                target_kind=target.kind,
                target_id=target.id,
                target_name=target.name,
                parameters=dict(parameters or {}),
                request_id=actor.request_id,
            )
    except IntegrityError:
        existing = active_operation(target.kind, target.id)
        if existing is not None and existing.kind == kind:
            return existing, False
        doing = "something else" if existing is None else title_of(existing.kind, existing.target_name)
        raise Conflict(
            f"Another operation is under way: {doing}. Wait for it or cancel it.",
            code="busy",
            data={"operation": str(existing.public_id)} if existing else {},
        ) from None
    announce(operation)
    dispatch_on_commit(operation)
    return operation, True


def active_operation(target_kind: str, target_id: str) -> Operation | None:
    return Operation.objects.filter(
        target_kind=target_kind, target_id=target_id, state__in=Operation.ACTIVE
    ).first()


def lock_active_operation(target: Target) -> Operation | None:
    """The active operation of a target, locked until the transaction ends.

    A service that locks the target and then makes or cancels operations takes this lock first: whoever
    finishes an operation locks it before its target, and two orders would be a deadlock on PostgreSQL.
    """
    return (
        Operation.objects.select_for_update(no_key=True)
        .filter(target_kind=target.kind, target_id=target.id, state__in=Operation.ACTIVE)
        .first()
    )


def dispatch_on_commit(operation: Operation) -> None:
    """Hand the operation to a worker after the commit; double delivery is harmless.

    Without a broker it stays queued and ``recovery`` hands it over later.
    """
    public_id = str(operation.public_id)

    def send() -> None:
        from coi_web.operations.tasks import run_operation

        try:
            run_operation.delay(public_id)
        except Exception as error:  # an edge: kombu and redis raise many kinds
            log.warning("dispatch-failed", operation=public_id, error=repr(error))

    transaction.on_commit(send)


def request_cancel(*, actor: Actor, operation: Operation) -> None:
    """Ask the work to stop at its next safe point.  Safe to repeat; does nothing to ended work."""
    user = actor.require_user()
    target = Target("operation", str(operation.public_id), title_of(operation.kind, operation.target_name))
    with refusals_recorded("operation.cancel", actor=actor, target=target, team=operation.team):
        if user.pk not in (operation.requester_id, operation.owner_id) and not user.is_superuser:
            raise Forbidden("Only who asked for it, the owner or an administrator can cancel this operation.")
        with transaction.atomic():
            if cancel_operation(operation):
                record("operation.cancel", actor=actor, target=target, team=operation.team)


def cancel_operation(operation: Operation) -> bool:
    """Cancel without asking who may; for services that cancel work as part of a change of their own.

    What no worker has begun ends at once, other work at its next safe point.  True the first time.
    """
    with transaction.atomic():
        asked = Operation.objects.filter(
            pk=operation.pk, state__in=Operation.ACTIVE, cancel_requested_at=None
        ).update(cancel_requested_at=timezone.now())
        if asked:
            operation.refresh_from_db()
            announce(operation)
            end_if_queued(operation)
    return bool(asked)


def end_if_queued(operation: Operation) -> None:
    """Cancel at once what no worker has begun."""
    with transaction.atomic():
        won = Operation.objects.filter(pk=operation.pk, state=Operation.State.QUEUED, attempts=0).update(
            state=Operation.State.CANCELLED,
            finished_at=timezone.now(),
            error_code="cancelled",
            error_message="Cancelled before it began.",
        )
        if won:
            operation.refresh_from_db()
            handler_of_row(operation.kind).settle(operation)
            announce(operation)


def announce(operation: Operation) -> None:
    """Hint at the change to everybody who may see the operation."""
    groups = [ADMINISTRATORS, AUDITORS]
    groups += [user_group(pk) for pk in {operation.requester_id, operation.owner_id} if pk is not None]
    if operation.team_id is not None:
        groups.append(team_group(operation.team_id))
    publish_on_commit(
        groups,
        LiveEvent(
            "operation.changed",
            str(operation.public_id),
            {"state": operation.state, "target": f"{operation.target_kind}:{operation.target_id}"},
        ),
    )
