"""``Authorization: Bearer coi_…`` for the API."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from coi_web.accounts.models import ApiToken, User
from coi_web.accounts.tokens import TOKEN_PREFIX, digest
from coi_web.requests import request_meta

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class TokenAuthentication(BaseAuthentication):
    """The token's person; a read token may only read.

    Unknown, expired, revoked tokens and those of disabled people get the same answer.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        try:
            text = parts[1].decode("ascii") if len(parts) == 2 else ""
        except UnicodeDecodeError:
            text = ""
        now = timezone.now()
        token = None
        if text.startswith(TOKEN_PREFIX):
            token = (
                ApiToken.objects.select_related("user")
                .filter(digest=digest(text), revoked_at=None, expires_at__gt=now, user__is_active=True)
                .first()
            )
        if token is None:
            raise AuthenticationFailed(
                "This token is unknown, expired or revoked. Make a new one.", "token-invalid"
            )
        if token.scope == ApiToken.Scope.READ and request.method not in _SAFE_METHODS:
            raise PermissionDenied(
                "This token may only read. Make one with the scope write.", "token-read-only"
            )
        ApiToken.objects.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=now - timedelta(minutes=1)), pk=token.pk
        ).update(last_used_at=now, last_used_ip=request_meta(request._request)["ip"])
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
