"""Hints to open pages: "this changed, fetch it again".  The only user of the channel layer.

The database is the truth and a hint may be lost (Redis restarted, queue full): pages fetch afresh
whenever their socket comes back.  Terminal bytes never pass here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypedDict

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

log = structlog.get_logger(__name__)

ADMINISTRATORS = "coi.administrators"
AUDITORS = "coi.auditors"


class Hint(TypedDict):
    """What goes over the channel layer; ``type`` names the consumer's method."""

    type: str
    event: str
    id: str
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """``type`` such as ``session.changed``; ``id`` public, ``extra`` small and fit for all receivers."""

    type: str
    id: str
    extra: dict[str, Any] = field(default_factory=dict)


def user_group(user_id: int) -> str:
    return f"coi.user.{user_id}"


def team_group(team_id: int) -> str:
    return f"coi.team.{team_id}"


def object_group(kind: str, public_id: object) -> str:
    """Everybody who has this one thing open, such as a session's terminals."""
    return f"coi.{kind}.{re.sub(r'[^A-Za-z0-9_.-]', '-', str(public_id))}"[:99]


def publish_on_commit(groups: Iterable[str], event: LiveEvent) -> None:
    """Send after the surrounding transaction commits (at once without one).  Never raises, may be lost."""
    wanted = sorted(set(groups))
    transaction.on_commit(lambda: publish(wanted, event), robust=True)


def publish(groups: Iterable[str], event: LiveEvent) -> None:
    """Send now from synchronous code.  A broken channel layer is logged, not raised."""
    layer = get_channel_layer()
    if layer is None:
        return
    hint = Hint(type="live.hint", event=event.type, id=event.id, extra=event.extra)
    for group in groups:
        try:
            async_to_sync(layer.group_send)(group, hint)
        except Exception as error:  # an edge: whatever the layer raises, the change itself has happened
            log.warning("live-hint-lost", group=group, event_type=event.type, error=repr(error))
            return
