"""Health, as the page *Health* shows it."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from coi_web.accounts.access import require_overseer
from coi_web.health import all_checks, as_dicts
from coi_web.rest import PanelView


class HealthCheckSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    name = serializers.CharField()
    is_ok = serializers.BooleanField()
    detail = serializers.CharField()
    fix = serializers.CharField(allow_blank=True, help_text="What to do; empty where all is well.")


class HealthSerializer(serializers.Serializer[Any]):
    is_ok = serializers.BooleanField()
    checks = HealthCheckSerializer(many=True)


class HealthView(PanelView):
    @extend_schema(operation_id="health", responses=HealthSerializer)
    def get(self, request: Request) -> Response:
        """Every check with what to do about it; for auditors and administrators."""
        require_overseer(self.actor)
        checks = all_checks()
        return Response({"is_ok": all(check.is_ok for check in checks), "checks": as_dicts(checks)})
