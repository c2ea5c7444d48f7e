"""What every API view stands on: the actor, typed input, pages by key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from coi_web.audit.actors import Actor
from coi_web.errors import InvalidInput
from coi_web.requests import actor_of

M = TypeVar("M", bound=Model)

DEFAULT_LIMIT = 50
MOST_LIMIT = 200


class OnlyJson(BaseContentNegotiation):
    """JSON whatever ``Accept`` says: there is nothing else to choose from."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, str(first.media_type)


class BoundedJson(JSONParser):
    """JSON of a depth that Python can read: deeper bodies are the sender's fault, not a crash."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse(*args, **kwargs)
        except RecursionError:
            raise ParseError("nested too deeply") from None


class PanelView(APIView):
    """A view that hands its caller to services as an ``Actor``.

    ``engine`` says that its answers may be those of Incus (502 to 507); the schema lists them then.
    """

    engine = False
    content_negotiation_class = OnlyJson
    parser_classes = [BoundedJson]

    @property
    def actor(self) -> Actor:
        return actor_of(cast(HttpRequest, self.request))

    def read(self, serializer_class: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """The checked body; raises DRF's ValidationError, which becomes ``invalid-input``."""
        serializer = serializer_class(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


class Nothing(serializers.Serializer[Any]):
    """A request without fields; what is sent is ignored."""


@dataclass(frozen=True, slots=True)
class Key:
    """The unique column that a list is sorted by; ``is_number`` columns are read from the cursor as such."""

    column: str
    descending: bool = False
    is_number: bool = False


PAGE_PARAMETERS = [
    OpenApiParameter("after", str, description="The `next` of the page before."),
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MOST_LIMIT, "default": DEFAULT_LIMIT},
        description="Most rows in the answer.",
    ),
]


def page(
    request: Request, rows: QuerySet[M], serializer_class: type[serializers.BaseSerializer[Any]], *, key: Key
) -> Response:
    """Answer ``{"results": […], "next": cursor or null}``, sorted by ``key``.

    The cost does not grow with the page's number, and rows that come in between shift nothing.
    Raises InvalidInput for a cursor or limit that cannot be read.
    """
    limit = read_limit(request.query_params.get("limit", ""))
    rows = rows.order_by(f"-{key.column}" if key.descending else key.column)
    cursor = request.query_params.get("after", "")
    if cursor:
        rows = rows.filter(**{f"{key.column}__{'lt' if key.descending else 'gt'}": read_cursor(cursor, key)})
    found = list(rows[: limit + 1])
    following = str(getattr(found[limit - 1], key.column)) if len(found) > limit else None
    return Response({"results": serializer_class(found[:limit], many=True).data, "next": following})


def read_limit(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST_LIMIT):
        raise InvalidInput(f"limit is a number from 1 to {MOST_LIMIT}.", data={"field": "limit"})
    return int(text or DEFAULT_LIMIT)


def read_cursor(text: str, key: Key) -> int | str:
    if not key.is_number:
        return text
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidInput("after is the `next` of an earlier page; this is none.", data={"field": "after"})
    return int(text)


@cache
def page_of(serializer_class: type[serializers.BaseSerializer[Any]]) -> Any:
    """The schema of ``page``'s answer."""
    name = serializer_class.__name__.removesuffix("Serializer")
    fields = {"results": serializer_class(many=True), "next": serializers.CharField(allow_null=True)}
    return inline_serializer(f"{name}Page", cast(Any, fields))
