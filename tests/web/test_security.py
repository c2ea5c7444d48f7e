"""What must hold on every page: headers, cookies, escaping, and no input that breaks anything."""

from __future__ import annotations

import re
from functools import reduce
from typing import Any

import pytest
from django.contrib.auth import get_user
from django.test import Client
from django.urls import reverse

from coi_web.audit.models import AuditEvent
from tests.support.cast import NASTY_NAME, PASSWORD, Cast
from tests.support.world import World, make_world
from tests.web.permissions import ROWS, Row

#: One row for each address that answers a page or a fragment to somebody.
PAGES = list(
    {row.route + str(row.args): row for row in ROWS if row.method == "GET" and not row.is_api}.values()
)


@pytest.fixture
def world(cast: Cast, django_capture_on_commit_callbacks: Any) -> World:
    return make_world(cast, django_capture_on_commit_callbacks)


def _url(row: Row, world: World) -> str:
    values = {
        name: text[1:] if text.startswith("=") else reduce(getattr, text.split("."), world)
        for name, text in row.args.items()
    }
    return reverse(row.route, kwargs=values)


def _signed_in(world: World, who: str) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(world.cast.people()[who])
    return client


def test_headers_of_every_page(world: World) -> None:
    clients = {who: _signed_in(world, who) for who in ("owner", "administrator")} | {"anonymous": Client()}
    for row in PAGES:
        for who, client in clients.items():
            response = client.get(_url(row, world))
            place = f"{row} as {who}"
            assert response.status_code < 500, place
            assert response["X-Content-Type-Options"] == "nosniff", place
            assert response["X-Frame-Options"] == "DENY", place
            assert response["Referrer-Policy"] == "same-origin", place
            assert re.fullmatch(r"[0-9a-f]{16}", response["X-Request-ID"]), place
            policy = dict(
                part.strip().split(" ", 1)
                for part in response["Content-Security-Policy"].split(";")
                if " " in part.strip()
            )
            assert policy["default-src"] == policy["script-src"] == "'self'", place
            assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'", place
            assert policy["form-action"] == "'self'", place
            is_terminal = row.route == "sessions:terminal" and response.status_code == 200
            allowed = "'self' 'unsafe-inline'" if is_terminal else "'self'"
            assert policy["style-src"] == allowed, place
            assert "unsafe-eval" not in response["Content-Security-Policy"], place


def test_nothing_in_a_page_needs_what_the_policy_forbids(world: World) -> None:
    """No inline script, style or handler, nothing from another host."""
    for who in ("owner", "administrator"):
        client = _signed_in(world, who)
        for row in PAGES:
            page = client.get(_url(row, world)).content.decode()
            place = f"{row} as {who}"
            assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", page), place
            assert "<style" not in page, place
            assert not re.search(r"<[^>]+\sstyle=", page), place
            assert not re.search(r"<[^>]+\son[a-z]+=", page), place
            for address in re.findall(r"(?:src|href|action)=[\"']([^\"']*)", page):
                assert not re.match(r"(?i)\s*(https?:)?//|\s*(javascript|data):", address), (place, address)


def test_names_are_escaped_everywhere(world: World) -> None:
    """Everybody's display name, the team's, and what is asked for in the address."""
    for who in ("owner", "lead", "administrator"):
        client = _signed_in(world, who)
        for row in PAGES:
            for query in ("", "?q=%3Cxss%3E%22%27&team=shop&workspace=%3Cxss%3E&state=%3Cxss%3E"):
                page = client.get(_url(row, world) + query).content.decode()
                assert NASTY_NAME not in page, f"{row} as {who}"
                assert "<b>{{" not in page and "<b>&" not in page, f"{row}{query} as {who}"
                assert "<xss" not in page, f"{row}{query} as {who}"


def test_cookies(cast: Cast) -> None:
    """Two weeks where the person asked to stay signed in, else until the browser is closed."""
    for remember, age in (("", ""), ("on", 14 * 24 * 3600)):
        client = Client()
        client.get("/account/login/")
        client.post("/account/login/", {"login": "ana", "password": PASSWORD, "remember": remember})
        session, csrf = client.cookies["coi_web_session"], client.cookies["coi_web_csrf"]
        assert session["httponly"]
        assert (session["samesite"], csrf["samesite"]) == ("Lax", "Lax")
        assert session["max-age"] == age
        assert session["domain"] == csrf["domain"] == ""


def test_the_session_key_changes_at_sign_in(cast: Cast, client: Client) -> None:
    client.get("/account/login/")
    session = client.session
    session["planted"] = "1"
    session.save()
    before = client.cookies["coi_web_session"].value
    client.post("/account/login/", {"login": "ana", "password": PASSWORD})
    assert get_user(client).is_authenticated
    assert client.cookies["coi_web_session"].value != before


def test_guessing_passwords_is_slowed_down(cast: Cast, client: Client) -> None:
    """After five wrong ones the right one does not help for a while, and other people are not locked out."""
    for _ in range(5):
        client.post("/account/login/", {"login": "ana", "password": "wrong"})
    page = client.post("/account/login/", {"login": "ana", "password": PASSWORD})
    assert b"Too many" in page.content
    assert not get_user(client).is_authenticated
    assert client.post("/account/login/", {"login": "ben", "password": PASSWORD}).status_code == 302
    assert AuditEvent.objects.filter(action="account.sign-in-failed").count() == 5


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/", "//evil.example/", "\\\\evil.example", "/\\evil.example", "http:evil.example",
        "javascript:alert(1)", " //evil.example", "/%09/evil.example", "https:///evil.example",
    ],
)  # fmt: skip
def test_next_leads_nowhere_else(cast: Cast, client: Client, target: str) -> None:
    response = client.post("/account/login/", {"login": "ana", "password": PASSWORD, "next": target})
    assert response.status_code == 302
    assert response["Location"] in ("/", target if target.startswith("/%09") else "/")
    client.logout()
    client.force_login(cast.owner)
    assert client.get("/account/login/", {"next": target})["Location"] in ("/", "/%09/evil.example")
    out = client.post("/account/logout/", {"next": target})
    assert out["Location"] in ("/account/login/", "/%09/evil.example")


def test_next_leads_back_within_the_panel(cast: Cast, client: Client) -> None:
    bounced = client.get("/audit/?q=actor:ana")
    assert bounced["Location"] == "/account/login/?next=%2Faudit%2F%3Fq%3Dactor%3Aana"
    response = client.post(
        bounced["Location"], {"login": "ana", "password": PASSWORD, "next": "/audit/?q=actor:ana"}
    )
    assert response["Location"] == "/audit/?q=actor:ana"


def test_signed_out_inside_a_fragment(db: None, client: Client) -> None:
    """htmx must not put the login page into a fragment."""
    response = client.get("/operations/badge/", headers={"HX-Request": "true"})
    assert (response.status_code, response["HX-Redirect"]) == (204, "/account/login/")
    response = client.get("/sessions/palette/", headers={"Accept": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "signed-out")


def test_a_form_from_another_site(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.administrator)
    client.cookies["coi_web_csrf"] = token = "c" * 32
    form = {"username": "intruder", "csrfmiddlewaretoken": token}
    for origin in ("https://evil.example", "null", "http://testserver:81"):
        page = client.post("/people/new/", form, headers={"Origin": origin})
        assert page.status_code == 403, origin
        assert b"another site" in page.content
    assert client.post("/people/new/", form, headers={"Origin": "http://testserver"}).status_code == 200


def test_a_wrong_host(db: None, client: Client) -> None:
    for host in ("evil.example", "testserver.evil.example", "a b", "testserver@evil.example", ""):
        assert client.get("/account/login/", headers={"Host": host}).status_code == 400, host


BAD = [
    "x" * 300, "x" * 100_000, "😀" * 40, "../../etc/passwd", "<b>", "a\x00b", "\ud83d", "{{7*7}}",
    "\r\nSet-Cookie: a=b", "9" * 40, "１２", " ",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: repr(bad)[:20])
def test_bad_input_in_every_form(bad: str, world: World) -> None:
    """Each field of each form, and each part of each address: a 4xx or a page, never a crash."""
    admin, owner = _signed_in(world, "administrator"), _signed_in(world, "owner")
    for row in ROWS:
        if row.is_api or row.method != "POST":
            continue
        client = owner if row.route.startswith("sessions:") else admin
        for name in row.data:
            response = _post(client, _url(row, world), {**row.data, name: bad})
            assert response.status_code < 500, f"{row} with {name}={bad!r}: {response.status_code}"
            assert "a=b" not in str(response.headers), row
    for row in ROWS:
        for name in row.args:
            values = {other: "1" if other != name else bad for other in row.args}
            try:
                url = reverse(row.route, kwargs=values)
            except Exception as error:  # the converter of the address refuses it: nothing to ask
                assert type(error).__name__ in ("NoReverseMatch", "UnicodeEncodeError")
                continue
            response = getattr(admin, row.method.lower())(url)
            assert 300 <= response.status_code < 500, f"{row} {name}={bad!r}: {response.status_code}"


def _post(client: Client, url: str, data: dict[str, Any]) -> Any:
    try:
        return client.post(url, data)
    except UnicodeEncodeError:
        # A lone surrogate cannot be sent as UTF-8; bytes that are no UTF-8 are what arrives instead.
        return client.post(
            url, {name: b"\xed\xa0\xbd" if "\ud83d" in value else value for name, value in data.items()}
        )


@pytest.mark.parametrize("query", ["%00", "%ff", "9" * 40, "x" * 3000, "%F0%9F%98%80", "[]"])
def test_bad_queries(query: str, world: World) -> None:
    admin = _signed_in(world, "administrator")
    names = (
        "q",
        "page",
        "team",
        "state",
        "workspace",
        "then",
        "mine",
        "before",
        "after",
        "limit",
        "next",
        "mode",
        "slot",
        "size_gib",
        "name",
    )
    for row in ROWS:
        if row.method == "GET":
            url = _url(row, world) + "?" + "&".join(f"{name}={query}" for name in names)
            response = admin.get(url)
            assert response.status_code < 500, f"{url}: {response.status_code}"


def test_a_body_of_ten_megabytes_is_refused(world: World) -> None:
    client = _signed_in(world, "administrator")
    response = client.post("/people/new/", {"username": "x" * 10_000_000})
    assert response.status_code in (400, 413)
    token = {"Authorization": f"Bearer {world.token_text}"}
    body = '{"name": "' + "x" * 10_000_000 + '"}'
    response = Client().post("/api/v1/tokens/", body, content_type="application/json", headers=token)
    assert response.status_code in (400, 413)
