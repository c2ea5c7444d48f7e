"""Sign-ins and sign-outs reach the audit log from signals: Django and allauth do them, no service of ours."""

from __future__ import annotations

from typing import Any

from allauth.account.signals import password_changed, password_reset, password_set
from allauth.mfa.signals import authenticator_added, authenticator_removed
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from coi_web.accounts.models import User
from coi_web.accounts.services import announce_rights_changed, user_target
from coi_web.audit.actors import Actor
from coi_web.audit.services import Target, record
from coi_web.requests import actor_of, request_meta


def _signed_in(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record("account.sign-in", actor=Actor.of(user, **request_meta(request)), target=user_target(user))


def _signed_out(sender: Any, request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        record("account.sign-out", actor=Actor.of(user, **request_meta(request)), target=user_target(user))
        announce_rights_changed(user)


def _sign_in_failed(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    name = str(credentials.get("username") or credentials.get("email") or "")[:150]
    meta = request_meta(request) if request is not None else {}
    record(
        "account.sign-in-failed",
        actor=Actor.of(None, **meta),
        target=Target("user", "", name),
        outcome="refused",
    )


def _password_changed(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record("account.password-changed", actor=actor_of(request), target=user_target(user))
    announce_rights_changed(user)


def _second_factor_changed(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record("account.second-factor-changed", actor=actor_of(request), target=user_target(user))


def connect() -> None:
    user_logged_in.connect(_signed_in)
    user_logged_out.connect(_signed_out)
    user_login_failed.connect(_sign_in_failed)
    for signal in (password_changed, password_set, password_reset):
        signal.connect(_password_changed)
    for signal in (authenticator_added, authenticator_removed):
        signal.connect(_second_factor_changed)
