"""Writing to the audit log and checking it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from django.conf import settings
from django.db import transaction

from coi_web.audit.actions import is_known
from coi_web.audit.actors import Actor
from coi_web.audit.models import AuditEvent, AuditHead
from coi_web.errors import CoiError, IncusError

GENESIS = "0" * 64
_CHAINED = (
    "sequence", "action", "outcome", "actor_kind", "actor_id", "actor_name", "team_id", "team_name",
    "target_kind", "target_id", "target_name", "ip", "user_agent", "request_id", "data",
)  # fmt: skip


class TeamLike(Protocol):
    pk: Any
    name: Any


@dataclass(frozen=True, slots=True)
class Target:
    """What an action was done to: kind (``session``), stable id, and its name at that moment."""

    kind: str
    id: str
    name: str


def record(
    action: str,
    *,
    actor: Actor,
    target: Target | None = None,
    team: TeamLike | None = None,
    outcome: str = AuditEvent.Outcome.OK,
    data: Mapping[str, object] | None = None,
) -> AuditEvent:
    """Append one event; call it last inside the transaction of the change, so that both hold or neither.

    ``data`` must be JSON and free of secrets.  Not safe to repeat: each call is an event.
    Raises ValueError for an action that nobody registered.
    """
    if not is_known(action):
        raise ValueError(f"unknown audit action {action!r}")
    with transaction.atomic():
        head = AuditHead.objects.select_for_update().get_or_create(pk=1)[0]
        event = AuditEvent(
            sequence=head.sequence + 1,
            at=datetime.now(UTC),
            action=action,
            outcome=outcome,
            actor_kind=actor.kind,
            actor_id=actor.user_id,
            actor_name=_text(actor.name, 150),
            team_id=None if team is None else team.pk,
            team_name="" if team is None else _text(str(team.name), 100),
            target_kind="" if target is None else target.kind,
            target_id="" if target is None else _text(target.id, 64),
            target_name="" if target is None else _text(target.name, 200),
            ip=_text(actor.ip, 64),
            user_agent=_text(actor.user_agent, 200),
            request_id=actor.request_id[:64],
            data=dict(data or {}) | ({"token": actor.token_name} if actor.token_name else {}),
            previous_hash=head.hash,
        )
        event.hash = chain_hash(event)
        event.save(force_insert=True)
        head.sequence, head.hash = event.sequence, event.hash
        head.save(update_fields=["sequence", "hash"])
    return event


def _text(value: str, most: int) -> str:
    """What any database can store: a refused name may be anything, and its refusal must be recorded."""
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")[:most]


@contextmanager
def refusals_recorded(
    action: str, *, actor: Actor, target: Target | None = None, team: TeamLike | None = None
) -> Iterator[None]:
    """Around a service's transaction: a CoiError that leaves it is recorded as refused, then raised on.

    Stand outside ``transaction.atomic()``: inside, the rollback would take the record along.
    """
    try:
        yield
    except CoiError as error:
        outcome = AuditEvent.Outcome.FAILED if isinstance(error, IncusError) else AuditEvent.Outcome.REFUSED
        record(action, actor=actor, target=target, team=team, outcome=outcome, data={"code": error.code})
        error.is_recorded = True
        raise


def chain_hash(event: AuditEvent) -> str:
    """HMAC-SHA-256 (RFC 2104) over the previous hash and the row as canonical JSON; hex."""
    body = {name: getattr(event, name) for name in _CHAINED}
    body["at"] = event.at.astimezone(UTC).isoformat(timespec="microseconds")
    text = event.previous_hash + json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(settings.COI_AUDIT_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """``broken_at`` is the sequence of the first row that does not fit, ``reason`` why.

    ``through`` and ``through_hash`` are the last row that fits: the place to go on from.
    """

    checked: int
    through: int
    through_hash: str
    broken_at: int | None = None
    reason: str = ""

    @property
    def is_whole(self) -> bool:
        return self.broken_at is None


def verify_chain(*, after: int = 0, after_hash: str = GENESIS, most: int | None = None) -> Verdict:
    """Walk the log in constant memory: about 50,000 rows a second.  Changes nothing.

    Begins behind event ``after``, whose hash is known, and reads at most ``most`` rows.
    """
    # The head is read first: events that are appended during the walk are no break.
    head = AuditHead.objects.filter(pk=1).first() or AuditHead(sequence=0, hash=GENESIS)
    through, previous, checked = after, after_hash, 0

    def broken(at: int, reason: str) -> Verdict:
        return Verdict(checked, through, previous, at, reason)

    rows = AuditEvent.objects.filter(sequence__gt=after).order_by("sequence")
    for event in rows[:most].iterator(chunk_size=2000):
        if event.sequence != through + 1:
            return broken(through + 1, "a row is missing")
        if event.previous_hash != previous:
            return broken(event.sequence, "the row does not follow from the one before")
        if not hmac.compare_digest(chain_hash(event), event.hash):
            return broken(event.sequence, "the row was changed")
        if event.sequence == head.sequence and event.hash != head.hash:
            return broken(event.sequence, "the row is not the one that was written last")
        through, previous, checked = event.sequence, event.hash, checked + 1
    if through < head.sequence and (most is None or checked < most):
        return broken(through + 1, "the newest rows are missing")
    if after > head.sequence:
        return broken(after, "the head of the chain was set back")
    return Verdict(checked, through, previous)
