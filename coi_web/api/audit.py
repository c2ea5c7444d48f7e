"""The audit log."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from coi_web.accounts.access import events_for, get_event_for, require_overseer
from coi_web.audit.actions import sentence
from coi_web.audit.chain import chain_status
from coi_web.audit.models import AuditEvent
from coi_web.audit.queries import AuditSearch
from coi_web.rest import PAGE_PARAMETERS, Key, PanelView, page, page_of


class AuditEventSerializer(serializers.ModelSerializer[AuditEvent]):
    sentence = serializers.SerializerMethodField()

    class Meta:
        model = AuditEvent
        fields = [
            "sequence", "at", "action", "outcome", "sentence", "actor_kind", "actor_name", "team_name",
            "target_kind", "target_id", "target_name", "ip", "user_agent", "request_id", "data", "hash",
        ]  # fmt: skip

    def get_sentence(self, event: AuditEvent) -> str:
        return sentence(event.action, actor=event.actor_name, target=event.target_name, outcome=event.outcome)

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        fields["data"] = serializers.DictField(read_only=True)
        return fields


class ChainSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["whole", "checking", "broken"])
    checked_through = serializers.IntegerField(help_text="Every event up to this sequence fits the chain.")
    newest = serializers.IntegerField()
    broken_at = serializers.IntegerField(allow_null=True)
    reason = serializers.CharField(allow_blank=True)


class AuditListView(PanelView):
    @extend_schema(
        operation_id="audit_list",
        parameters=[
            OpenApiParameter(
                "q", str, description="actor:ana action:session.* target: team: outcome: since:7d until: …"
            ),
            *PAGE_PARAMETERS,
        ],
        responses=page_of(AuditEventSerializer),
    )
    def get(self, request: Request) -> Response:
        """What one may see, newest first: all of it, one's teams', or one's own."""
        search = AuditSearch.parse(request.query_params.get("q", ""))
        rows = events_for(self.actor).filter(search.conditions)
        return page(request, rows, AuditEventSerializer, key=Key("sequence", descending=True, is_number=True))


class AuditEventView(PanelView):
    @extend_schema(operation_id="audit_event", responses=AuditEventSerializer)
    def get(self, request: Request, sequence: int) -> Response:
        """One event."""
        return Response(AuditEventSerializer(get_event_for(self.actor, sequence)).data)


class AuditChainView(PanelView):
    @extend_schema(operation_id="audit_chain", responses=ChainSerializer)
    def get(self, request: Request) -> Response:
        """Whether the log is whole, as far as it was checked; `manage.py audit verify` checks all at once."""
        require_overseer(self.actor)
        return Response(ChainSerializer(chain_status()).data)
