"""The OpenAPI document: which errors each call may answer with, in their one form."""

from __future__ import annotations

import inspect
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from rest_framework import serializers


class ErrorBody(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="Stable, for machines: quota-exceeded, not-found, …")
    message = serializers.CharField(help_text="For people: what failed and what to do next.")
    # `data` of a Serializer is its content, so the field of that name is added below.
    request_id = serializers.CharField(help_text="Give it to an administrator: it finds the log lines.")

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        fields["data"] = serializers.DictField(help_text="What the error is about, for machines.")
        return fields


class Error(serializers.Serializer[Any]):
    error = ErrorBody()


_TEXTS = {
    "400": "What was sent cannot be used.",
    "401": "Nobody is signed in, or the token is unknown, expired or revoked.",
    "403": "Visible to this person, but not theirs to do; or a read token, or no CSRF token.",
    "404": "Not there, or not visible: the two are never told apart.",
    "409": "True a moment ago, no longer; or a limit is reached.",
    "415": "The body is not JSON.",
    "429": "Too many requests.",
    "502": "Incus refused.",
    "503": "Incus does not answer.",
    "504": "Incus took too long.",
    "507": "The disk is full.",
}
_WRITES = ("POST", "PUT", "PATCH", "DELETE")


class PanelSchema(AutoSchema):
    """Adds the errors that a call can answer with, from its method, its path and its view's ``engine``."""

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        responses = super()._get_response_bodies(direction=direction)
        if direction == "response":
            for code in self._error_codes():
                answer = self._get_response_for_code(  # type: ignore[no-untyped-call]
                    Error, code, media_types=["application/json"]
                )
                responses.setdefault(code, {**answer, "description": _TEXTS[code]})
        return responses

    def get_description(self) -> str:  # type: ignore[override]
        """What the method says of itself; a view's own docstring is for programmers."""
        return inspect.getdoc(getattr(self.view, self.method.lower())) or ""

    def _error_codes(self) -> list[str]:
        codes = ["400", "401", "403"]
        if "{" in self.path:
            codes.append("404")
        if self.method in _WRITES:
            codes += ["404", "409", "415"]
        if getattr(self.view, "engine", False):
            codes += ["502", "503", "504", "507"]
        return sorted(set(codes))


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "coi_web.accounts.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return dict(build_bearer_security_scheme_object("Authorization", "Bearer", bearer_format="coi_…"))
