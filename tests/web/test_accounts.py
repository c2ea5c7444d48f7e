"""Links, tokens, people and teams, as a browser meets them."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret, hotp_value
from django.contrib.auth import get_user
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from coi_web.accounts.models import ApiToken, Membership, SignInLink, Team, User
from coi_web.accounts.services import create_sign_in_link, create_user
from coi_web.audit.actors import SYSTEM
from coi_web.audit.models import AuditEvent
from tests.support.cast import PASSWORD, Cast

NEW_PASSWORD = "a long new passphrase"


@pytest.fixture
def admin(cast: Cast) -> Client:
    client = Client()
    client.force_login(cast.administrator)
    return client


def _actions() -> list[str]:
    return list(AuditEvent.objects.order_by("sequence").values_list("action", flat=True))


def _choose(client: Client, token: str, password: str = NEW_PASSWORD, again: str = NEW_PASSWORD) -> int:
    url = reverse("accounts:sign-in-link", args=[token])
    return client.post(url, {"password": password, "password_again": again}).status_code


class TestSignInLink:
    def test_opening_spends_nothing_and_the_button_signs_in_with_a_new_password(
        self, db: None, client: Client
    ) -> None:
        user = create_user(actor=SYSTEM, username="newbie")
        token = create_sign_in_link(actor=SYSTEM, user=user)
        for _ in range(2):
            page = client.get(reverse("accounts:sign-in-link", args=[token]))
            assert page.status_code == 200
            assert b"Sign in as newbie" in page.content
            assert page["Referrer-Policy"] == "same-origin", "no other site learns the address"
            assert "no-store" in page["Cache-Control"]
        assert not get_user(client).is_authenticated

        assert _choose(client, token) == 302
        assert get_user(client).pk == user.pk
        user.refresh_from_db()
        assert user.check_password(NEW_PASSWORD)
        assert _actions()[-3:] == ["account.password-changed", "account.link-used", "account.sign-in"]

        again = client.get(reverse("accounts:sign-in-link", args=[token]))
        assert again.status_code == 404
        assert b"does not work any more" in again.content
        assert _choose(Client(), token) == 404

    def test_who_has_no_password_must_choose_a_good_one(self, db: None, client: Client) -> None:
        token = create_sign_in_link(actor=SYSTEM, user=create_user(actor=SYSTEM, username="newbie"))
        for password, again in (
            ("", ""),
            ("short", "short"),
            (NEW_PASSWORD, "another"),
            ("newbie1234", "newbie1234"),
        ):
            assert _choose(client, token, password, again) == 422
        assert not get_user(client).is_authenticated
        assert SignInLink.objects.get().used_at is None
        assert _choose(client, token) == 302

    def test_who_has_a_password_keeps_it_without_typing(self, cast: Cast, client: Client) -> None:
        token = create_sign_in_link(actor=SYSTEM, user=cast.owner)
        assert _choose(client, token, "", "") == 302
        cast.owner.refresh_from_db()
        assert cast.owner.check_password(PASSWORD)

    def test_a_new_password_ends_sign_ins_elsewhere(self, cast: Cast, client: Client) -> None:
        elsewhere = Client()
        elsewhere.force_login(cast.owner)
        assert elsewhere.get("/account/tokens/").status_code == 200
        assert _choose(client, create_sign_in_link(actor=SYSTEM, user=cast.owner)) == 302
        assert elsewhere.get("/account/tokens/").status_code == 302
        assert client.get("/account/tokens/").status_code == 200

    def test_it_takes_the_place_of_whoever_is_signed_in(self, cast: Cast, client: Client) -> None:
        client.force_login(cast.stranger)
        token = create_sign_in_link(actor=SYSTEM, user=cast.owner)
        assert b"signed in as sven" in client.get(reverse("accounts:sign-in-link", args=[token])).content
        assert _choose(client, token) == 302
        assert get_user(client).pk == cast.owner.pk

    def test_old_newer_and_disabled(self, cast: Cast, client: Client) -> None:
        first = create_sign_in_link(actor=SYSTEM, user=cast.owner)
        second = create_sign_in_link(actor=SYSTEM, user=cast.owner)
        assert _choose(client, first) == 404, "a newer link ends the earlier one"
        SignInLink.objects.filter(used_at=None).update(expires_at=timezone.now() - timedelta(seconds=1))
        assert _choose(client, second) == 404
        assert _choose(client, create_sign_in_link(actor=SYSTEM, user=cast.disabled)) == 404
        assert not get_user(client).is_authenticated

    def test_a_second_factor_is_still_asked_for(self, cast: Cast, client: Client) -> None:
        TOTP.activate(cast.owner, generate_totp_secret())
        RecoveryCodes.activate(cast.owner)
        token = create_sign_in_link(actor=SYSTEM, user=cast.owner)
        response = client.post(
            reverse("accounts:sign-in-link", args=[token]),
            {"password": NEW_PASSWORD, "password_again": NEW_PASSWORD},
        )
        assert response["Location"] == reverse("mfa_authenticate")
        assert not get_user(client).is_authenticated

    def test_the_token_is_in_no_log(
        self, cast: Cast, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        token = create_sign_in_link(actor=SYSTEM, user=cast.owner)
        strict = Client(enforce_csrf_checks=True)
        assert _choose(strict, token) == 403, "Django logs the path of what it refuses"
        assert _choose(Client(), token) == 302
        assert token not in capfd.readouterr().err
        assert all(token not in str(one.data) for one in AuditEvent.objects.all())


class TestSecondFactor:
    def test_from_setting_it_up_to_signing_in_with_it(
        self, cast: Cast, client: Client, django_capture_on_commit_callbacks: Any
    ) -> None:
        client.post("/account/login/", {"login": "ana", "password": PASSWORD})
        asked = client.get("/account/2fa/totp/activate/")
        assert asked["Location"].startswith("/account/reauthenticate/"), "the password once more, even now"
        page = client.post(asked["Location"], {"password": PASSWORD}, follow=True)
        assert page.redirect_chain[-1][0] == "/account/2fa/totp/activate/"
        assert page.status_code == 200
        secret = re.search(r"\b[A-Z2-7]{32}\b", page.content.decode())
        assert secret is not None
        assert client.post("/account/2fa/totp/activate/", {"code": "000000"}).status_code == 200
        with django_capture_on_commit_callbacks(execute=True):
            made = client.post("/account/2fa/totp/activate/", {"code": _code(secret[0])}, follow=True)
        assert made.status_code == 200
        codes = client.get("/account/2fa/recovery-codes/")
        code = re.search(r"\b[0-9a-f]{4,}\b", re.sub(r"<[^>]+>", " ", codes.content.decode()))
        assert code is not None
        assert "account.second-factor-changed" in _actions()

        again = Client()
        asked = again.post("/account/login/", {"login": "ana", "password": PASSWORD})
        assert asked["Location"] == "/account/2fa/authenticate/"
        assert again.get("/account/2fa/authenticate/").status_code == 200
        assert again.get("/").status_code == 302, "half signed in is not signed in"
        assert again.post("/account/2fa/authenticate/", {"code": "wrong"}).status_code == 200
        assert not get_user(again).is_authenticated
        assert again.post("/account/2fa/authenticate/", {"code": code[0]}).status_code == 302
        assert get_user(again).pk == cast.owner.pk
        assert again.post("/account/2fa/totp/deactivate/").status_code in (200, 302)


def _code(secret: str) -> str:
    """RFC 6238: what an authenticator app shows now."""
    return f"{hotp_value(secret, int(time.time()) // 30):06}"


class TestTokens:
    def test_its_text_is_shown_once(self, cast: Cast, client: Client) -> None:
        client.force_login(cast.owner)
        made = client.post("/account/tokens/", {"name": "nightly", "scope": "read", "days": "30"})
        found = re.search(rb"coi_[A-Za-z0-9_-]{43}", made.content)
        assert found is not None
        assert found[0] not in client.get("/account/tokens/").content
        token = ApiToken.objects.get()
        assert found[0].decode() not in (token.digest, token.prefix)
        answer = Client().get("/api/v1/me/", headers={"Authorization": f"Bearer {found[0].decode()}"})
        assert answer.json()["username"] == "ana"

        assert client.post(f"/account/tokens/{token.pk}/revoke/").status_code == 302
        answer = Client().get("/api/v1/me/", headers={"Authorization": f"Bearer {found[0].decode()}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token-invalid")
        assert _actions()[-2:] == ["token.create", "token.revoke"]

    def test_no_more_than_twenty(self, cast: Cast, client: Client) -> None:
        client.force_login(cast.owner)
        for number in range(20):
            client.post("/account/tokens/", {"name": f"t{number}", "scope": "read", "days": "7"})
        refused = client.post("/account/tokens/", {"name": "one more", "scope": "read", "days": "7"})
        assert refused.status_code == 422
        assert b"You have 20 of 20 tokens" in refused.content
        assert AuditEvent.objects.latest("sequence").outcome == "refused"


class TestPeople:
    def test_a_new_account_comes_with_a_link_that_works(self, cast: Cast, admin: Client) -> None:
        made = admin.post(
            "/people/new/", {"username": "newbie", "email": "n@example.org", "is_auditor": "on"}
        )
        link = re.search(rb"http://testserver(/sign-in/[^/]+/)", made.content)
        assert link is not None
        assert Client().get(link[1].decode()).status_code == 200
        user = User.objects.get(username="newbie")
        assert (user.is_auditor, user.is_superuser, user.has_usable_password()) == (True, False, False)
        detail = admin.get("/people/users/newbie/")
        assert link[1] not in detail.content
        assert b"unused, ends" in detail.content

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"username": "ana"}, "exists"),
            ({"username": "Ana"}, "small letters"),
            ({"username": "x" * 33}, "at most 32"),
            ({"username": "a.b"}, "small letters"),
            ({"username": "n", "email": "no mail"}, "valid email"),
            ({"username": "n", "email": "ANA@example.org"}, "exists"),
        ],
    )
    def test_bad_accounts(self, cast: Cast, admin: Client, fields: dict[str, str], text: str) -> None:
        before = User.objects.count()
        page = admin.post("/people/new/", fields)
        assert page.status_code == 422
        assert text in unescape(page.content.decode())
        assert User.objects.count() == before

    def test_disabling_signs_out_at_once_and_stops_tokens(self, cast: Cast, admin: Client) -> None:
        theirs = Client()
        theirs.force_login(cast.owner)
        text = re.search(
            rb"coi_[A-Za-z0-9_-]{43}",
            theirs.post("/account/tokens/", {"name": "t", "scope": "read", "days": "7"}).content,
        )
        assert text is not None
        bearer = {"Authorization": f"Bearer {text[0].decode()}"}
        assert admin.post("/people/users/ana/disable/").status_code == 302
        assert theirs.get("/").status_code == 302
        assert Client().get("/api/v1/me/", headers=bearer).status_code == 401
        assert not Client().login(username="ana", password=PASSWORD)
        assert admin.post("/people/users/ana/enable/").status_code == 302
        assert Client().get("/api/v1/me/", headers=bearer).status_code == 200
        assert [action for action in _actions() if action.startswith("user.")] == [
            "user.disable",
            "user.enable",
        ]

    def test_the_last_administrator_stays(self, cast: Cast, admin: Client) -> None:
        page = admin.post("/people/users/ada/", {"display_name": "Ada"})
        assert page.status_code == 422
        assert b"last administrator" in page.content
        assert admin.post("/people/users/ada/disable/").status_code == 409
        cast.administrator.refresh_from_db()
        assert cast.administrator.is_superuser
        assert cast.administrator.is_active

    def test_rights_change_and_are_recorded(self, cast: Cast, admin: Client) -> None:
        assert (
            admin.post("/people/users/ana/", {"display_name": "Ana", "is_auditor": "on"}).status_code == 302
        )
        cast.owner.refresh_from_db()
        assert cast.owner.is_auditor
        data = AuditEvent.objects.latest("sequence").data
        assert (data["before"]["auditor"], data["after"]["auditor"]) == (False, True)

    def test_a_lost_second_factor_is_reset(self, cast: Cast, admin: Client) -> None:
        TOTP.activate(cast.owner, generate_totp_secret())
        assert b"set up" in admin.get("/people/users/ana/").content
        assert admin.post("/people/users/ana/reset-second-factor/").status_code == 302
        assert Client().login(username="ana", password=PASSWORD)
        assert "user.second-factor-reset" in _actions()

    def test_the_list_is_searched_and_paged(self, cast: Cast, admin: Client) -> None:
        User.objects.bulk_create(User(username=f"u{number:03}", password="!") for number in range(130))
        page = admin.get("/people/?q=u0")
        assert b"u099" in page.content
        assert b'href="/people/users/ana/"' not in page.content
        following = re.search(r'href="(\?[^"]*after=[^"]*)"', admin.get("/people/?q=u").content.decode())
        assert following is not None
        rest = admin.get("/people/" + unescape(following[1]))
        assert b"u129" in rest.content
        assert b"u001" not in rest.content


class TestTeams:
    def test_an_administrator_makes_and_deletes_one(self, cast: Cast, admin: Client) -> None:
        assert admin.post("/people/new-team/", {"name": "Blue <b>", "slug": "blue"}).status_code == 302
        assert admin.post("/people/new-team/", {"name": "Blue", "slug": "blue"}).status_code == 422
        wrong = admin.post("/people/teams/blue/delete/", {"typed": "green"})
        assert wrong.status_code == 422
        assert Team.objects.filter(slug="blue").exists()
        assert admin.post("/people/teams/blue/delete/", {"typed": "blue"}).status_code == 302
        assert not Team.objects.filter(slug="blue").exists()

    def test_a_lead_manages_members_and_keeps_at_it(self, cast: Cast) -> None:
        lead = Client()
        lead.force_login(cast.lead)
        url = "/people/teams/shop/"
        assert lead.post(url, {"username": "sven", "role": "member"}).status_code == 302
        assert lead.post(url, {"username": "sven", "role": "lead"}).status_code == 302
        assert Membership.objects.get(user=cast.stranger).role == "lead"
        for username in ("nobody", "dora", "x" * 40, "<b>"):
            assert lead.post(url, {"username": username, "role": "member"}).status_code == 422
        assert lead.post(url, {"username": "ben", "role": "emperor"}).status_code == 422
        assert lead.post(f"{url}members/sven/remove/").status_code == 302
        assert lead.post(f"{url}rename/", {"name": "Shop & Co"}).status_code == 302
        assert lead.post(f"{url}rename/", {"name": ""}).status_code == 422
        events = AuditEvent.objects.filter(action__startswith="team.").order_by("sequence")
        assert list(events.exclude(outcome="refused").values_list("action", flat=True)) == [
            "team.member-add", "team.member-change", "team.member-remove", "team.change",
        ]  # fmt: skip
        refused = events.filter(outcome="refused").values_list("target_name", flat=True)
        assert list(refused) == ["nobody", "dora", "<b>"]

    def test_a_lead_who_leaves_lands_on_a_page_that_is_theirs(self, cast: Cast) -> None:
        lead = Client()
        lead.force_login(cast.lead)
        response = lead.post("/people/teams/shop/members/lea/remove/", follow=True)
        assert response.redirect_chain[-1][0] == "/people/"
        assert response.status_code == 200


class TestSigningIn:
    def test_by_name_or_mail_and_out(self, cast: Cast) -> None:
        for login in ("ana", "ANA", "ana@example.org"):
            client = Client()
            assert client.post("/account/login/", {"login": login, "password": PASSWORD}).status_code == 302
            assert get_user(client).pk == cast.owner.pk
            assert client.post("/account/logout/").status_code == 302
            assert not get_user(client).is_authenticated
        assert _actions() == ["account.sign-in", "account.sign-out"] * 3

    def test_a_wrong_password_is_recorded_without_it(self, cast: Cast, client: Client) -> None:
        page = client.post("/account/login/", {"login": "ana", "password": "sesame-open"})
        assert page.status_code == 200
        assert not get_user(client).is_authenticated
        event = AuditEvent.objects.get(action="account.sign-in-failed")
        assert (event.outcome, event.target_name, event.actor_name) == ("refused", "ana", "anonymous")
        assert "sesame" not in str(event.data)

    def test_a_disabled_person_stays_outside(self, cast: Cast, client: Client) -> None:
        answers = []
        for login, password in (("dora", PASSWORD), ("dora", "wrong"), ("nobody", "wrong")):
            answers.append(client.post("/account/login/", {"login": login, "password": password}).status_code)
        assert answers == [302, 200, 200], "whoever has the password is told that the account is disabled"
        assert not get_user(client).is_authenticated
        refused = AuditEvent.objects.order_by("sequence").values_list("action", "outcome", "target_name")
        assert list(refused) == [
            ("account.sign-in-failed", "refused", "dora"),
            ("account.sign-in-failed", "refused", "dora"),
            ("account.sign-in-failed", "refused", "nobody"),
        ]

    def test_nobody_signs_up(self, db: None, client: Client) -> None:
        page = client.get("/account/signup/")
        assert b"administrator" in page.content.lower() or b"closed" in page.content.lower()
        fields = {"username": "intruder", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
        client.post("/account/signup/", fields)
        assert not User.objects.exists()

    def test_the_theme_is_kept(self, cast: Cast, client: Client) -> None:
        client.force_login(cast.owner)
        scripted = client.post("/account/theme/", {"theme": "dark"}, headers={"X-Requested-With": "fetch"})
        assert scripted.status_code == 204
        assert b'data-theme="dark"' in client.get("/account/tokens/").content
        back = client.post(
            "/account/theme/", {"theme": "light"}, headers={"Referer": "http://testserver/audit/?q=x"}
        )
        assert back["Location"] == "http://testserver/audit/?q=x"
        away = client.post(
            "/account/theme/", {"theme": "light"}, headers={"Referer": "https://evil.example/"}
        )
        assert away["Location"] == "/"
        assert client.post("/account/theme/", {"theme": "<b>"}).status_code == 400
