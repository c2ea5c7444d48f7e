"""Operations: what is under way on the engine, and what was."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from coi_web.errors import InvalidInput
from coi_web.operations.models import Operation
from coi_web.operations.queries import get_operation_for, operations_visible_to
from coi_web.operations.registry import title_of
from coi_web.operations.services import request_cancel
from coi_web.rest import PAGE_PARAMETERS, Key, Nothing, PanelView, page, page_of


class OperationSerializer(serializers.ModelSerializer[Operation]):
    id = serializers.UUIDField(source="public_id")
    title = serializers.SerializerMethodField()
    state = serializers.ChoiceField(Operation.State.choices)
    requester = serializers.CharField(source="requester_name")

    class Meta:
        model = Operation
        fields = [
            "id", "kind", "title", "state", "requester", "target_kind", "target_id", "target_name", "step",
            "percent", "message", "result", "error_code", "error_message", "attempts", "created_at",
            "started_at", "finished_at", "cancel_requested_at",
        ]  # fmt: skip

    def get_title(self, operation: Operation) -> str:
        return title_of(operation.kind, operation.target_name)

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        fields["result"] = serializers.DictField(read_only=True)
        return fields


class OperationListView(PanelView):
    @extend_schema(
        operation_id="operation_list",
        parameters=[
            OpenApiParameter("state", str, enum=Operation.State.values),
            OpenApiParameter("target", str, description="The name of what it works on."),
            *PAGE_PARAMETERS,
        ],
        responses=page_of(OperationSerializer),
    )
    def get(self, request: Request) -> Response:
        """Own and one's teams', newest first; all for auditors and administrators."""
        rows = operations_visible_to(self.actor)
        if state := request.query_params.get("state", ""):
            if state not in Operation.State.values:
                raise InvalidInput(
                    f"state is one of {', '.join(Operation.State.values)}.", data={"field": "state"}
                )
            rows = rows.filter(state=state)
        if target := request.query_params.get("target", ""):
            rows = rows.filter(target_name=target)
        return page(request, rows, OperationSerializer, key=Key("pk", descending=True, is_number=True))


class OperationView(PanelView):
    @extend_schema(operation_id="operation", responses=OperationSerializer)
    def get(self, request: Request, public_id: UUID) -> Response:
        """One operation: how far it is, or how it ended."""
        return Response(OperationSerializer(get_operation_for(self.actor, public_id)).data)


class OperationCancelView(PanelView):
    @extend_schema(operation_id="operation_cancel", request=Nothing, responses=OperationSerializer)
    def post(self, request: Request, public_id: UUID) -> Response:
        """Ask it to stop at its next safe point.  Safe to repeat; ended work stays as it is."""
        operation = get_operation_for(self.actor, public_id)
        request_cancel(actor=self.actor, operation=operation)
        operation.refresh_from_db()
        return Response(OperationSerializer(operation).data)
