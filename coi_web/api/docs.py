"""``/api/schema/`` and a page that lists what is in it, without a script or a foreign host."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.views import SpectacularAPIView

from coi_web.accounts.access import require_user
from coi_web.requests import actor_of
from coi_web.rest import OnlyJson


class SchemaView(SpectacularAPIView):
    """The document as JSON, for whoever is signed in."""

    renderer_classes = [OpenApiJsonRenderer]
    content_negotiation_class = OnlyJson


@dataclass(frozen=True, slots=True)
class Call:
    """One line of the page; ``fields`` are those of the body, ``*`` marks what must be sent."""

    method: str
    path: str
    name: str
    text: str
    parameters: list[str]
    fields: list[str]
    answers: list[str]


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    require_user(actor_of(request))
    return render(request, "api/docs.html", {"groups": _groups()})


@cache
def _groups() -> list[tuple[str, list[Call]]]:
    """Calls by the first word of their path; the schema changes only with the code."""
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    groups: dict[str, list[Call]] = {}
    for path, methods in document["paths"].items():
        group = path.removeprefix("/api/v1/").split("/")[0]
        for method, operation in methods.items():
            groups.setdefault(group, []).append(_call(document, method, path, operation))
    return sorted(groups.items())


def _call(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Call:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    schema = document["components"]["schemas"].get(body.get("$ref", "").rpartition("/")[2], {})
    required = schema.get("required", [])
    return Call(
        method=method.upper(),
        path=path,
        name=operation["operationId"],
        text=operation.get("description", ""),
        parameters=[one["name"] for one in operation.get("parameters", []) if one["in"] == "query"],
        fields=[f"{name}*" if name in required else name for name in schema.get("properties", {})],
        answers=[code for code in operation["responses"] if code < "400"],
    )
