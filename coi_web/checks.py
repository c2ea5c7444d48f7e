"""System checks of the panel; ids are stable (``coi.E001``)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register


@register("coi")
def secrets_are_long(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if len(settings.COI_AUDIT_KEY) < 16:
        return [
            Error(
                "The audit key is shorter than 16 characters.",
                hint="Set COI_AUDIT_KEY or COI_AUDIT_KEY_FILE to a long random text and keep it: "
                "the audit log is verified with it.",
                id="coi.E001",
            )
        ]
    return []


@register("coi", deploy=True)
def debug_is_off(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.COI_INCUS.get("backend") == "fake":
        return [Warning("The engine is the in-memory fake.", hint="Use it in tests only.", id="coi.W002")]
    return []
