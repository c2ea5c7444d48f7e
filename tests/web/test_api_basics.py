"""What holds for every call: who asks, what an error looks like, how lists are paged."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from coi_web.accounts.models import ApiToken, User
from coi_web.accounts.services import create_token
from coi_web.audit.models import AuditEvent
from coi_web.errors import DiskFull, IncusUnavailable
from coi_web.incus.fake import FakeIncus
from tests.support.cast import Cast

API = "/api/v1/"


class Caller:
    """A script with a token: no cookies, JSON both ways."""

    def __init__(self, text: str) -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.headers = {"Authorization": f"Bearer {text}"}

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        data = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(self.client, method.lower())(API + path, headers=self.headers, **data)


def _caller(cast: Cast, who: str, scope: str = "write") -> Caller:
    return Caller(create_token(actor=cast.actor(who), name="test", scope=scope, days=1)[1])


def _error(response: Any) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "data", "request_id"}
    assert body["error"]["request_id"] == response["X-Request-ID"]
    error: dict[str, Any] = body["error"]
    return error


class TestTokens:
    def test_no_csrf_is_asked_of_a_token_and_the_actor_is_recorded(self, cast: Cast) -> None:
        assert _caller(cast, "owner")("POST", "tokens/", {"name": "second"}).status_code == 201
        event = AuditEvent.objects.latest("sequence")
        assert (event.actor_kind, event.actor_name, event.data["token"]) == ("token", "ana", "test")

    def test_a_read_token_only_reads(self, cast: Cast) -> None:
        call = _caller(cast, "administrator", "read")
        assert call("GET", "users/").status_code == 200
        for method, path in (("POST", "users/"), ("PATCH", "me/"), ("DELETE", "teams/shop/")):
            response = call(method, path, {})
            assert (response.status_code, _error(response)["code"]) == (403, "token-read-only")

    def test_a_token_gives_no_more_than_its_person(self, cast: Cast) -> None:
        assert _caller(cast, "owner")("GET", "users/").status_code == 403
        assert _caller(cast, "stranger")("GET", "teams/shop/").status_code == 404

    def test_what_is_no_good_token(self, cast: Cast) -> None:
        token, text = create_token(actor=cast.actor("owner"), name="t", scope="write", days=1)
        wrong = ["", "coi_", text[:-1], text + "x", text.upper(), "é" * 20, "x" * 5000, f"{text} {text}"]
        for value in wrong:
            response = Caller(value)("GET", "me/")
            assert (response.status_code, _error(response)["code"]) == (401, "token-invalid"), value[:50]
            assert response["WWW-Authenticate"] == "Bearer"
        assert Caller(text)("GET", "me/").status_code == 200
        ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
        assert Caller(text)("GET", "me/").status_code == 401

    def test_its_last_use_is_kept(self, cast: Cast) -> None:
        token, text = create_token(actor=cast.actor("owner"), name="t", scope="read", days=1)
        Caller(text)("GET", "me/")
        token.refresh_from_db()
        assert token.last_used_at is not None
        assert token.last_used_ip == "127.0.0.1"

    def test_a_bad_token_is_not_saved_by_a_good_cookie(self, cast: Cast) -> None:
        client = Client()
        client.force_login(cast.owner)
        assert client.get(API + "me/", headers={"Authorization": "Bearer coi_x"}).status_code == 401


class TestErrors:
    @pytest.fixture
    def call(self, cast: Cast) -> Caller:
        return _caller(cast, "administrator")

    def test_nobody(self, db: None, client: Client) -> None:
        response = client.get(API + "me/")
        assert (response.status_code, _error(response)["code"]) == (401, "signed-out")

    def test_cookie_without_csrf(self, cast: Cast) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(cast.owner)
        response = client.patch(API + "me/", '{"theme": "dark"}', content_type="application/json")
        assert (response.status_code, _error(response)["code"]) == (403, "csrf-failed")

    def test_unknown_address(self, call: Caller) -> None:
        response = call("GET", "no/such/thing/")
        assert (response.status_code, _error(response)["code"]) == (404, "not-found")

    def test_method(self, call: Caller) -> None:
        response = call("DELETE", "me/")
        assert (response.status_code, _error(response)["code"]) == (405, "method-not-allowed")
        assert "PATCH" in response["Allow"]

    @pytest.mark.parametrize("body", ["{", "\x00", '{"theme": "dark"', "NaN}", "[" * 5000])
    def test_broken_json(self, call: Caller, body: str) -> None:
        response = call.client.patch(API + "me/", body, content_type="application/json", headers=call.headers)
        assert response.status_code == 400
        assert _error(response)["code"] in ("invalid-json", "invalid-input")

    @pytest.mark.parametrize(
        "body", [[], "text", 5, None, {"theme": ["dark"]}, {"theme": {"a": 1}}, {"theme": "x"}, {}]
    )
    def test_wrong_shapes(self, call: Caller, body: Any) -> None:
        response = call.client.patch(
            API + "me/", json.dumps(body), content_type="application/json", headers=call.headers
        )
        assert (response.status_code, _error(response)["code"]) == (400, "invalid-input")

    def test_other_media_types(self, call: Caller) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            response = call.client.patch(API + "me/", "theme=dark", content_type=kind, headers=call.headers)
            assert (response.status_code, _error(response)["code"]) == (415, "unsupported-media-type")

    def test_every_complaint_by_field(self, call: Caller) -> None:
        error = _error(call("POST", "users/", {"username": "A b", "email": "x"}))
        assert error["code"] == "invalid-input"
        assert set(error["data"]["fields"]) == {"username", "email"}
        assert error["data"]["field"] in error["data"]["fields"]
        taken = call("POST", "users/", {"username": "ana"})
        assert (taken.status_code, _error(taken)["code"]) == (409, "conflict")

    def test_answers_are_json_whatever_accept_says(self, call: Caller) -> None:
        for accept in ("text/html", "application/xml", "nonsense", ""):
            response = call.client.get(API + "me/", headers={**call.headers, "Accept": accept})
            assert (response.status_code, response["Content-Type"]) == (200, "application/json")

    def test_a_bug_is_a_500_without_details(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        call = _caller(cast, "owner")
        call.client.raise_request_exception = False

        def broken(*args: object, **kwargs: object) -> None:
            raise RuntimeError("secret detail")

        monkeypatch.setattr("coi_web.api.people.MeSerializer.to_representation", broken)
        response = call("GET", "me/")
        assert (response.status_code, _error(response)["code"]) == (500, "internal-error")
        assert b"secret detail" not in response.content

    def test_the_engine_away_is_told_by_health(self, call: Caller, fake_incus: FakeIncus) -> None:
        assert next(one for one in call("GET", "health/").json()["checks"] if one["code"] == "incus")["is_ok"]
        fake_incus.behave(
            "server", fails=IncusUnavailable("Incus does not answer. Start it.", log_detail="x")
        )
        checks = {one["code"]: one for one in call("GET", "health/").json()["checks"]}
        assert not checks["incus"]["is_ok"]
        assert checks["incus"]["fix"] == "Incus does not answer. Start it."
        ready = Client().get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["incus"]) == (503, False)
        fake_incus.behave("server", fails=DiskFull("The disk is full."))
        assert Client().get("/readyz").status_code == 503
        assert Client().get("/healthz").json() == {"status": "ok"}


class TestPages:
    def test_lists_are_walked_by_next(self, cast: Cast) -> None:
        call = _caller(cast, "auditor", "read")
        User.objects.bulk_create(User(username=f"u{number:02}", password="!") for number in range(23))
        names: list[str] = []
        after = ""
        while True:
            body = call("GET", f"users/?limit=7&after={after}").json()
            names += [row["username"] for row in body["results"]]
            if body["next"] is None:
                break
            assert len(body["results"]) == 7
            after = body["next"]
        assert names == sorted(User.objects.values_list("username", flat=True))

    @pytest.mark.parametrize("limit", ["0", "-1", "201", "x", "1e3", "²", "9" * 50, "%00"])
    def test_a_bad_limit(self, cast: Cast, limit: str) -> None:
        response = _caller(cast, "auditor")("GET", f"users/?limit={limit}")
        assert (response.status_code, _error(response)["code"]) == (400, "invalid-input")

    @pytest.mark.parametrize("path", ["tokens/", "operations/", "sessions/", "audit/"])
    def test_a_bad_cursor(self, cast: Cast, path: str) -> None:
        call = _caller(cast, "auditor")
        for cursor in ("x", "-1", "1.5", "9" * 40):
            assert call("GET", f"{path}?after={cursor}").status_code == 400
        assert call("GET", f"{path}?after={'9' * 18}").status_code == 200


class TestAccounts:
    def test_me(self, cast: Cast) -> None:
        body = _caller(cast, "lead", "read")("GET", "me/").json()
        assert (body["username"], body["is_administrator"], body["theme"]) == ("lea", False, "auto")
        assert [(team["slug"], team["role"]) for team in body["teams"]] == [("shop", "lead")]

    def test_an_account_from_beginning_to_end(self, cast: Cast) -> None:
        call = _caller(cast, "administrator")
        made = call("POST", "users/", {"username": "newbie", "display_name": "New"}).json()
        assert made["user"]["is_active"]
        path = made["sign_in_link"]["url"].removeprefix("http://testserver")
        assert Client().get(path).status_code == 200
        changed = call("PATCH", "users/newbie/", {"is_auditor": True}).json()
        assert (changed["is_auditor"], changed["display_name"]) == (True, "New"), "the rest stays"
        assert call("POST", "users/newbie/disable/", {}).json()["is_active"] is False
        assert Client().get(path).status_code == 404, "a disabled account's link is dead"
        assert call("POST", "users/newbie/enable/", {}).json()["is_active"] is True
        assert call("POST", "users/newbie/link/").status_code == 201
        assert call("POST", "users/ada/disable/").status_code == 409, "the last administrator stays"

    def test_a_team_from_beginning_to_end(self, cast: Cast) -> None:
        call = _caller(cast, "administrator")
        assert call("POST", "teams/", {"slug": "blue", "name": "Blue"}).status_code == 201
        assert call("PUT", "teams/blue/members/ana/", {"role": "lead"}).json()["role"] == "lead"
        assert call("PUT", "teams/blue/members/ana/", {"role": "lead"}).status_code == 200
        missing = call("PUT", "teams/blue/members/nobody/", {"role": "lead"})
        assert (missing.status_code, _error(missing)["code"]) == (404, "no-such-user")
        owner = _caller(cast, "owner")
        assert [row["slug"] for row in owner("GET", "teams/").json()["results"]] == ["blue", "shop"]
        assert owner("PATCH", "teams/blue/", {"name": "Bluer"}).json()["name"] == "Bluer"
        assert [one["username"] for one in owner("GET", "teams/blue/").json()["members"]] == ["ana"]
        assert owner("DELETE", "teams/blue/").status_code == 403
        assert call("DELETE", "teams/blue/members/ana/").status_code == 204
        assert owner("GET", "teams/blue/").status_code == 404
        assert call("DELETE", "teams/blue/").status_code == 204
