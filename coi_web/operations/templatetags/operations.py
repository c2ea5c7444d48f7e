"""Words and links for operations."""

from __future__ import annotations

from django import template
from django.urls import reverse

from coi_web.operations.models import Operation
from coi_web.operations.registry import title_of

register = template.Library()

_ROUTES = {"session": "sessions:detail"}


@register.filter
def operation_title(operation: Operation) -> str:
    """Such as ``Start coi-eb88b3db-1``."""
    return title_of(operation.kind, operation.target_name)


@register.filter
def target_url(operation: Operation) -> str:
    """The page of what the operation is about, or ""."""
    route = _ROUTES.get(operation.target_kind)
    return reverse(route, args=[operation.target_id]) if route else ""


@register.simple_tag(takes_context=True)
def can_cancel(context: template.Context, operation: Operation) -> bool:
    """Whether the button is shown; ``services.request_cancel`` asks again, by the same rule."""
    user = context["request"].user
    if not operation.is_active or operation.cancel_requested_at is not None:
        return False
    return user.is_superuser or user.pk in (operation.requester_id, operation.owner_id)
