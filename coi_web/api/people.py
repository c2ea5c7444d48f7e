"""People and what belongs to one's own account."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from coi_web.accounts import services
from coi_web.accounts.access import get_token_for, get_user_for, require_overseer, require_user
from coi_web.accounts.models import ApiToken, Membership, User
from coi_web.rest import PAGE_PARAMETERS, Key, Nothing, PanelView, page, page_of


class UserSerializer(serializers.ModelSerializer[User]):
    is_administrator = serializers.BooleanField(source="is_superuser")

    class Meta:
        model = User
        fields = ["username", "display_name", "email", "is_active", "is_administrator", "is_auditor",
                  "date_joined"]  # fmt: skip


class OwnTeamSerializer(serializers.ModelSerializer[Membership]):
    slug = serializers.CharField(source="team.slug")
    name = serializers.CharField(source="team.name")

    class Meta:
        model = Membership
        fields = ["slug", "name", "role"]


class MeSerializer(UserSerializer):
    teams = OwnTeamSerializer(source="memberships", many=True)

    class Meta(UserSerializer.Meta):
        fields = [*UserSerializer.Meta.fields, "theme", "teams"]


class MeChange(serializers.Serializer[Any]):
    theme = serializers.ChoiceField(User.Theme.choices)


class UserCreate(serializers.Serializer[Any]):
    username = serializers.RegexField(r"^[a-z][a-z0-9-]{0,31}$", max_length=32)
    email = serializers.EmailField(required=False, allow_blank=True, default="")
    display_name = serializers.CharField(required=False, allow_blank=True, default="", max_length=100)
    is_administrator = serializers.BooleanField(required=False, default=False)
    is_auditor = serializers.BooleanField(required=False, default=False)


class UserChange(serializers.Serializer[Any]):
    """What is left out stays as it is."""

    email = serializers.EmailField(required=False, allow_blank=True)
    display_name = serializers.CharField(required=False, allow_blank=True, max_length=100)
    is_administrator = serializers.BooleanField(required=False)
    is_auditor = serializers.BooleanField(required=False)


class SignInLinkSerializer(serializers.Serializer[Any]):
    url = serializers.CharField(help_text="Signs the person in once within 24 hours. Shown this once.")


class CreatedUserSerializer(serializers.Serializer[Any]):
    user = UserSerializer()
    sign_in_link = SignInLinkSerializer()


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    class Meta:
        model = ApiToken
        fields = ["id", "name", "prefix", "scope", "created_at", "expires_at", "last_used_at", "revoked_at"]


class TokenCreate(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=64)
    scope = serializers.ChoiceField(ApiToken.Scope.choices, required=False, default=ApiToken.Scope.READ)
    days = serializers.IntegerField(
        min_value=1, max_value=services.MOST_TOKEN_DAYS, required=False, default=90
    )


class CreatedTokenSerializer(serializers.Serializer[Any]):
    token = TokenSerializer()
    text = serializers.CharField(help_text="The token itself. Shown this once.")


class MeView(PanelView):
    @extend_schema(operation_id="me", responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """Who one is, and in which teams."""
        return Response(MeSerializer(require_user(self.actor)).data)

    @extend_schema(operation_id="me_change", request=MeChange, responses=MeSerializer)
    def patch(self, request: Request) -> Response:
        """Change one's own theme."""
        services.set_theme(actor=self.actor, theme=self.read(MeChange)["theme"])
        return Response(MeSerializer(require_user(self.actor)).data)


class UserListView(PanelView):
    @extend_schema(operation_id="user_list", parameters=PAGE_PARAMETERS, responses=page_of(UserSerializer))
    def get(self, request: Request) -> Response:
        """All accounts, for auditors and administrators."""
        require_overseer(self.actor)
        return page(request, User.objects.all(), UserSerializer, key=Key("username"))

    @extend_schema(operation_id="user_create", request=UserCreate, responses={201: CreatedUserSerializer})
    def post(self, request: Request) -> Response:
        """A new account and the one-time link for its person; for administrators."""
        user = services.create_user(actor=self.actor, **self.read(UserCreate))
        link = {"url": _link_url(request, services.create_sign_in_link(actor=self.actor, user=user))}
        return Response({"user": UserSerializer(user).data, "sign_in_link": link}, status=201)


class UserView(PanelView):
    @extend_schema(operation_id="user", responses=UserSerializer)
    def get(self, request: Request, username: str) -> Response:
        """One account, for auditors and administrators."""
        return Response(UserSerializer(get_user_for(self.actor, username, to="view")).data)

    @extend_schema(operation_id="user_change", request=UserChange, responses=UserSerializer)
    def patch(self, request: Request, username: str) -> Response:
        """Change an account; open pages of its person take over the new rights at once."""
        user = get_user_for(self.actor, username, to="manage")
        fields: dict[str, Any] = {
            "email": user.email, "display_name": user.display_name,
            "is_administrator": user.is_superuser, "is_auditor": user.is_auditor,
        } | self.read(UserChange)  # fmt: skip
        return Response(UserSerializer(services.change_user(actor=self.actor, user=user, **fields)).data)


class UserEnableView(PanelView):
    @extend_schema(operation_id="user_enable", request=Nothing, responses=UserSerializer)
    def post(self, request: Request, username: str) -> Response:
        """The person can sign in again.  Safe to repeat."""
        user = get_user_for(self.actor, username, to="manage")
        services.set_user_enabled(actor=self.actor, user=user, enabled=True)
        return Response(UserSerializer(user).data)


class UserDisableView(PanelView):
    @extend_schema(operation_id="user_disable", request=Nothing, responses=UserSerializer)
    def post(self, request: Request, username: str) -> Response:
        """Signed out everywhere at once; sessions and containers stay.  Safe to repeat."""
        user = get_user_for(self.actor, username, to="manage")
        services.set_user_enabled(actor=self.actor, user=user, enabled=False)
        return Response(UserSerializer(user).data)


class UserLinkView(PanelView):
    @extend_schema(operation_id="user_link", request=Nothing, responses={201: SignInLinkSerializer})
    def post(self, request: Request, username: str) -> Response:
        """A new one-time sign-in link; earlier ones end."""
        user = get_user_for(self.actor, username, to="manage")
        return Response(
            {"url": _link_url(request, services.create_sign_in_link(actor=self.actor, user=user))}, 201
        )


class UserResetSecondFactorView(PanelView):
    @extend_schema(operation_id="user_reset_second_factor", request=Nothing, responses={204: None})
    def post(self, request: Request, username: str) -> Response:
        """For somebody who lost it: the next sign-in asks for the password only.  Safe to repeat."""
        user = get_user_for(self.actor, username, to="manage")
        services.reset_second_factor(actor=self.actor, user=user)
        return Response(status=204)


class TokenListView(PanelView):
    @extend_schema(operation_id="token_list", parameters=PAGE_PARAMETERS, responses=page_of(TokenSerializer))
    def get(self, request: Request) -> Response:
        """One's own tokens, newest first."""
        rows = ApiToken.objects.filter(user=require_user(self.actor))
        return page(request, rows, TokenSerializer, key=Key("id", descending=True, is_number=True))

    @extend_schema(operation_id="token_create", request=TokenCreate, responses={201: CreatedTokenSerializer})
    def post(self, request: Request) -> Response:
        """A new token, at most 20 a person."""
        token, text = services.create_token(actor=self.actor, **self.read(TokenCreate))
        return Response({"token": TokenSerializer(token).data, "text": text}, status=201)


class TokenView(PanelView):
    @extend_schema(operation_id="token_revoke", responses={204: None})
    def delete(self, request: Request, token_id: int) -> Response:
        """The token stops working at once.  Safe to repeat."""
        services.revoke_token(actor=self.actor, token=get_token_for(self.actor, token_id))
        return Response(status=204)


def _link_url(request: Request, token: str) -> str:
    return request.build_absolute_uri(reverse("accounts:sign-in-link", args=[token]))
