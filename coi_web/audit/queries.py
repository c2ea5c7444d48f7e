"""Reading the audit log: who sees which rows, and the search language of its page."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from django.db.models import Q, QuerySet

from coi_web.audit.models import AuditEvent
from coi_web.errors import InvalidInput

_FIELDS = {
    "actor": "actor_name",
    "action": "action",
    "target": "target_name",
    "team": "team_name",
    "outcome": "outcome",
    "request": "request_id",
    "ip": "ip",
}


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """``actor:ana action:session.* since:2026-11-01 shop``: words without a field match names."""

    conditions: Q = field(default_factory=Q)
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> AuditSearch:
        """Raises InvalidInput with advice for an unknown field or an unreadable date."""
        if len(text) > 500:
            raise InvalidInput("The search is longer than 500 characters. Use fewer words.")
        try:
            words = shlex.split(text)
        except ValueError:
            words = text.split()
        conditions = Q()
        for word in words:
            name, colon, value = word.partition(":")
            if colon and name in ("since", "until"):
                moment = _moment(value)
                conditions &= Q(at__gte=moment) if name == "since" else Q(at__lt=moment)
            elif colon and name in _FIELDS:
                conditions &= _match(_FIELDS[name], value)
            elif colon and name.isalpha():
                raise InvalidInput(
                    f"“{name}:” is not a field. Use {', '.join(f + ':' for f in (*_FIELDS, 'since', 'until'))}."
                )
            else:
                conditions &= (
                    Q(actor_name__icontains=word) | Q(target_name__icontains=word) | Q(action__icontains=word)
                )
        return cls(conditions, text)


def search_word(field: str, value: str) -> str:
    """One word of the search language, quoted where the value needs it: ``actor:'Ana B'``."""
    return f"{field}:{shlex.quote(value)}"


def _match(column: str, value: str) -> Q:
    if value.endswith("*"):
        return Q(**{f"{column}__istartswith": value[:-1]})
    return Q(**{f"{column}__iexact": value})


def _moment(value: str) -> datetime:
    if value == "today":
        return datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC)
    if value.isascii() and value[:-1].isdigit() and len(value) < 6 and value[-1:] in ("h", "d"):
        unit = timedelta(hours=1) if value[-1] == "h" else timedelta(days=1)
        return datetime.now(UTC) - int(value[:-1]) * unit
    try:
        return datetime.combine(date.fromisoformat(value), datetime.min.time(), UTC)
    except ValueError:
        raise InvalidInput(f"“{value}” is no date. Write 2026-11-01, today, 12h or 7d.") from None


def events_visible_to(*, user_id: int, sees_all: bool, led_team_ids: list[int]) -> QuerySet[AuditEvent]:
    """All rows for auditors and administrators; for others their own and those of teams that they lead."""
    if sees_all:
        return AuditEvent.objects.all()
    return AuditEvent.objects.filter(Q(actor_id=user_id) | Q(team_id__in=led_team_ids))
