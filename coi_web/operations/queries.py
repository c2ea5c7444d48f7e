"""Which operations a person sees."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q, QuerySet

from coi_web.accounts.access import require_user, team_ids
from coi_web.audit.actors import Actor
from coi_web.errors import NotFound
from coi_web.operations.models import Operation


def operations_visible_to(actor: Actor) -> QuerySet[Operation]:
    """Own and one's teams'; all for auditors and administrators."""
    user = require_user(actor)
    if user.sees_everything:
        return Operation.objects.all()
    return Operation.objects.filter(Q(requester=user) | Q(owner=user) | Q(team_id__in=team_ids(user)))


def get_operation_for(actor: Actor, public_id: UUID | str) -> Operation:
    operation = operations_visible_to(actor).filter(public_id=public_id).first()
    if operation is None:
        raise NotFound("There is no such operation, or you cannot see it.")
    return operation


def running_operations_count(actor: Actor) -> int:
    """Active ones that this person asked for or owns the target of."""
    user = require_user(actor)
    return Operation.objects.filter(Q(requester=user) | Q(owner=user), state__in=Operation.ACTIVE).count()
