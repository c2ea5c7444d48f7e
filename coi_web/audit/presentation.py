"""Audit events as the page shows them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from coi_web.audit.actions import sentence
from coi_web.audit.models import AuditEvent
from coi_web.audit.queries import search_word


@dataclass(frozen=True, slots=True)
class EventRow:
    """``text`` is plain: the template escapes it."""

    event: AuditEvent
    text: str


@dataclass(frozen=True, slots=True)
class Related:
    """A search that leads on from an event."""

    label: str
    value: str
    query: str


def row_of(event: AuditEvent) -> EventRow:
    text = sentence(event.action, actor=event.actor_name, target=event.target_name, outcome=event.outcome)
    return EventRow(event, text)


def data_text(event: AuditEvent) -> str:
    return json.dumps(event.data, indent=2, sort_keys=True, ensure_ascii=False)


def related_to(event: AuditEvent) -> list[Related]:
    found = [
        Related("By", event.actor_name, search_word("actor", event.actor_name)),
        Related("Action", event.action, search_word("action", event.action)),
    ]
    if event.target_name:
        found.append(Related("On", event.target_name, search_word("target", event.target_name)))
    if event.team_name:
        found.append(Related("Team", event.team_name, search_word("team", event.team_name)))
    if event.request_id:
        found.append(Related("Same request", event.request_id, search_word("request", event.request_id)))
    return found
