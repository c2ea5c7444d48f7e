"""Changes to people: accounts, one-time links and API tokens.  Teams: ``team_services``."""

from __future__ import annotations

from datetime import timedelta

from allauth.mfa.models import Authenticator
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from coi_web.accounts.access import require_administrator, require_user
from coi_web.accounts.models import ApiToken, SignInLink, User
from coi_web.accounts.tokens import TOKEN_PREFIX, digest, new_secret
from coi_web.audit.actors import SYSTEM, Actor
from coi_web.audit.services import Target, record, refusals_recorded
from coi_web.errors import Conflict, InvalidInput, NotFound, QuotaExceeded
from coi_web.live import LiveEvent, publish_on_commit, user_group

LINK_LIFETIME = timedelta(hours=24)
MOST_TOKENS_PER_USER = 20
MOST_TOKEN_DAYS = 366


def user_target(user: User) -> Target:
    return Target("user", str(user.pk), user.username)


def announce_rights_changed(user: User) -> None:
    """Open sockets of this person close on commit and come back with the new rights."""
    publish_on_commit([user_group(user.pk)], LiveEvent("accounts.revoked", user.username))


def create_user(
    *, actor: Actor, username: str, email: str = "", display_name: str = "",
    is_administrator: bool = False, is_auditor: bool = False,
) -> User:  # fmt: skip
    """A new account without a password: give its person a link (``create_sign_in_link``).

    Raises Forbidden, InvalidInput (with ``data["field"]``) and Conflict where name or e-mail is taken.
    """
    target = Target("user", "", username)
    with refusals_recorded("user.create", actor=actor, target=target):
        if actor is not SYSTEM:
            require_administrator(actor)
        user = User(
            username=username, email=email.strip(), display_name=display_name.strip(),
            is_superuser=is_administrator, is_auditor=is_auditor,
        )  # fmt: skip
        user.set_unusable_password()
        _check(user)
        try:
            with transaction.atomic():
                user.save(force_insert=True)
                record(
                    "user.create", actor=actor, target=user_target(user),
                    data={"administrator": is_administrator, "auditor": is_auditor},
                )  # fmt: skip
        except IntegrityError as error:
            raise Conflict("An account with this name or e-mail exists.", log_detail=str(error)) from error
    return user


def change_user(
    *, actor: Actor, user: User, email: str, display_name: str, is_administrator: bool, is_auditor: bool
) -> User:
    """Raises Conflict where the last enabled administrator would be lost."""
    with refusals_recorded("user.change", actor=actor, target=user_target(user)):
        require_administrator(actor)
        before = {"email": user.email, "display_name": user.display_name,
                  "administrator": user.is_superuser, "auditor": user.is_auditor}  # fmt: skip
        user.email, user.display_name = email.strip(), display_name.strip()
        user.is_superuser, user.is_auditor = is_administrator, is_auditor
        _check(user)
        try:
            with transaction.atomic():
                _lock_administrators()
                user.save(update_fields=["email", "display_name", "is_superuser", "is_auditor"])
                _require_an_administrator()
                after = {"email": user.email, "display_name": user.display_name,
                         "administrator": is_administrator, "auditor": is_auditor}  # fmt: skip
                record(
                    "user.change",
                    actor=actor,
                    target=user_target(user),
                    data={"before": before, "after": after},
                )
                announce_rights_changed(user)
        except IntegrityError as error:
            raise Conflict("An account with this e-mail exists.", log_detail=str(error)) from error
    return user


def set_user_enabled(*, actor: Actor, user: User, enabled: bool) -> None:
    """A disabled person is signed out everywhere at once; sessions and containers stay.  Safe to repeat."""
    action = "user.enable" if enabled else "user.disable"
    with refusals_recorded(action, actor=actor, target=user_target(user)):
        require_administrator(actor)
        with transaction.atomic():
            _lock_administrators()
            changed = User.objects.filter(pk=user.pk, is_active=not enabled).update(is_active=enabled)
            if not changed:
                return
            _require_an_administrator()
            record(action, actor=actor, target=user_target(user))
            announce_rights_changed(user)
    user.is_active = enabled


def create_sign_in_link(*, actor: Actor, user: User) -> str:
    """The token of a link that signs ``user`` in once within 24 hours; earlier unused ones end.

    It also is the way out for a forgotten password: there the person sets a new one.
    """
    with refusals_recorded("user.link", actor=actor, target=user_target(user)):
        if actor is not SYSTEM:
            require_administrator(actor)
        token, now = new_secret(), timezone.now()
        with transaction.atomic():
            SignInLink.objects.filter(user=user, used_at=None, expires_at__gt=now).update(expires_at=now)
            SignInLink.objects.create(user=user, digest=digest(token), expires_at=now + LINK_LIFETIME)
            record("user.link", actor=actor, target=user_target(user))
    return token


def find_sign_in_link(token: str) -> SignInLink:
    """Raises NotFound for a link that is unknown, used, too old or of a disabled account."""
    link = (
        SignInLink.objects.select_related("user")
        .filter(digest=digest(token), used_at=None, expires_at__gt=timezone.now(), user__is_active=True)
        .first()
    )
    if link is None:
        raise NotFound(
            "This sign-in link was used already or is too old. "
            "Ask an administrator for a new one; on the machine itself: ./coi-web link.",
            code="link-spent",
        )
    return link


def use_sign_in_link(*, actor: Actor, token: str, password: str = "") -> User:
    """Spend the link and return its person; of two simultaneous calls one gets NotFound.

    A ``password`` (validated by the caller) becomes theirs and ends their sign-ins elsewhere.
    """
    link = find_sign_in_link(token)
    user = link.user
    with transaction.atomic():
        if not SignInLink.objects.filter(pk=link.pk, used_at=None).update(used_at=timezone.now()):
            raise NotFound("This sign-in link was used a moment ago.", code="link-spent")
        by = Actor.of(user, ip=actor.ip, user_agent=actor.user_agent, request_id=actor.request_id)
        if password:
            user.set_password(password)
            user.save(update_fields=["password"])
            record("account.password-changed", actor=by, target=user_target(user))
            announce_rights_changed(user)
        record("account.link-used", actor=by, target=user_target(user))
    return user


def has_second_factor(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user).exists())


def reset_second_factor(*, actor: Actor, user: User) -> None:
    """For somebody who lost it: their next sign-in asks for the password only.  Safe to repeat."""
    with refusals_recorded("user.second-factor-reset", actor=actor, target=user_target(user)):
        require_administrator(actor)
        with transaction.atomic():
            if Authenticator.objects.filter(user=user).delete()[0]:
                record("user.second-factor-reset", actor=actor, target=user_target(user))


def create_token(*, actor: Actor, name: str, scope: str, days: int) -> tuple[ApiToken, str]:
    """A new API token and its text, which cannot be had again.

    Raises InvalidInput and, above 20 live tokens a person, QuotaExceeded.
    """
    user = require_user(actor)
    with refusals_recorded("token.create", actor=actor, target=Target("token", "", name[:64])):
        name = name.strip()
        if not name or len(name) > 64:
            raise InvalidInput("Give the token a name of up to 64 characters.", data={"field": "name"})
        if scope not in ApiToken.Scope.values:
            raise InvalidInput("The scope is read or write.", data={"field": "scope"})
        if not 1 <= days <= MOST_TOKEN_DAYS:
            raise InvalidInput(f"A token lives 1 to {MOST_TOKEN_DAYS} days.", data={"field": "days"})
        text = TOKEN_PREFIX + new_secret()
        now = timezone.now()
        with transaction.atomic():
            User.objects.select_for_update().get(pk=user.pk)
            live = ApiToken.objects.filter(user=user, revoked_at=None, expires_at__gt=now).count()
            if live >= MOST_TOKENS_PER_USER:
                raise QuotaExceeded(
                    f"You have {live} of {MOST_TOKENS_PER_USER} tokens. Revoke one first.",
                    data={"limit": MOST_TOKENS_PER_USER, "use": live},
                )
            token = ApiToken.objects.create(
                user=user, name=name, prefix=text[:10], digest=digest(text), scope=scope,
                expires_at=now + timedelta(days=days),
            )  # fmt: skip
            record("token.create", actor=actor, target=Target("token", str(token.pk), name),
                   data={"scope": scope, "days": days})  # fmt: skip
    return token, text


def revoke_token(*, actor: Actor, token: ApiToken) -> None:
    """Safe to repeat."""
    with transaction.atomic():
        if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
            record("token.revoke", actor=actor, target=Target("token", str(token.pk), token.name))


def set_theme(*, actor: Actor, theme: str) -> None:
    user = require_user(actor)
    if theme not in User.Theme.values:
        raise InvalidInput("The theme is auto, light or dark.", data={"field": "theme"})
    User.objects.filter(pk=user.pk).update(theme=theme)
    user.theme = theme


def _check(user: User) -> None:
    try:
        user.full_clean(exclude=["password"], validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInput(messages[0], data={"field": field}) from error


def _lock_administrators() -> None:
    """Two that take each other's rights away come one after the other, in one order."""
    administrators = User.objects.select_for_update(no_key=True).filter(is_superuser=True).order_by("pk")
    list(administrators.values_list("pk", flat=True))


def _require_an_administrator() -> None:
    if not User.objects.filter(is_superuser=True, is_active=True).exists():
        raise Conflict(
            "This is the last administrator. Make somebody else administrator first.",
            code="last-administrator",
        )
