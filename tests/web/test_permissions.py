"""Walks every address and asks it as every one of the cast; the table is ``permissions.py``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client, TestCase
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.support.cast import make_cast
from tests.support.world import World, make_world
from tests.web.permissions import CAST, ROWS, SOCKETS, TO_LOGIN, Row

pytestmark = pytest.mark.django_db

CSRF = "c" * 32
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    """One world for the whole table, in a transaction that is never committed: it is only looked at."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield make_world(make_cast(), TestCase.captureOnCommitCallbacks)
        transaction.set_rollback(True)


@pytest.fixture(scope="module")
def cookies(world: World) -> dict[str, str]:
    """Everybody's session cookie; signing in is not what is measured here."""
    found = {}
    for who in CAST[:-1]:
        client = Client()
        client.force_login(getattr(world.cast, who))
        found[who] = client.cookies["coi_web_session"].value
    return found


def _routes(patterns: list[URLPattern | URLResolver], namespace: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from _routes(pattern.url_patterns, inner)
        else:
            yield f"{namespace}{pattern.name}", pattern.callback


def test_every_route_and_method_has_a_row() -> None:
    have = {(row.route, row.method) for row in ROWS}
    missing = []
    for name, view in _routes(get_resolver().url_patterns):
        methods = {"GET"} if not hasattr(view, "cls") else set()
        methods |= {one for one in _METHODS if hasattr(getattr(view, "cls", None), one.lower())}
        if not any(route == name for route, _ in have):
            missing.append(name)
        elif hasattr(view, "cls"):
            missing += [f"{method} {name}" for method in methods if (name, method) not in have]
    assert not missing, f"give these a row in tests/web/permissions.py: {', '.join(missing)}"


def test_every_row_has_a_route_and_names_everybody() -> None:
    names = {name for name, _ in _routes(get_resolver().url_patterns)}
    assert {row.route for row in ROWS} <= names
    for row in ROWS:
        assert set(row.expect) == set(CAST), str(row)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(row: Row, world: World, cookies: dict[str, str]) -> None:
    """All of the cast, each on the same world: what one changes is undone before the next comes."""
    wrong = []
    for who in CAST:
        response = _ask(row, world, cookies.get(who))
        if _answer(response) != row.expect[who]:
            wrong.append(f"{who}: expected {row.expect[who]}, got {_answer(response)}")
    assert not wrong, f"{row}: {'; '.join(wrong)}"


@pytest.mark.parametrize("row", [row for row in ROWS if row.method != "GET"], ids=str)
def test_row_needs_csrf(row: Row, world: World, cookies: dict[str, str]) -> None:
    """With a browser's cookies alone no change happens, whoever it is."""
    for who in ("owner", "administrator"):
        response = _ask(row, world, cookies[who], csrf=False)
        assert response.status_code == 403, f"{row} as {who} without a CSRF token: {response.status_code}"


@pytest.mark.parametrize("name", sorted({row.route for row in ROWS}))
def test_methods_without_a_row_are_refused(name: str, world: World, cookies: dict[str, str]) -> None:
    """No address does something by a method that nobody thought of."""
    rows = [row for row in ROWS if row.route == name]
    for method in {"GET", *_METHODS[1:]} - {row.method for row in rows}:
        if name.startswith(("account_", "mfa_")) and method not in ("GET", "POST"):
            continue  # allauth's form views answer PUT as POST
        response = _ask(Row(name, method, {}, rows[0].args), world, cookies["administrator"])
        assert response.status_code in (403, 404, 405), f"{method} {name}: {response.status_code}"


def test_size_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        total = len(ROWS) + len(SOCKETS)
        print(f"\npermission table: {total} rows ({len(SOCKETS)} sockets), {total * len(CAST)} answers")
    assert len(ROWS) > 100


def _ask(row: Row, world: World, cookie: str | None, *, csrf: bool = True) -> HttpResponse:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    if cookie is not None:
        client.cookies["coi_web_session"] = cookie
    if csrf:
        client.cookies["coi_web_csrf"] = CSRF
    url = reverse(row.route, kwargs={name: _value(world, text) for name, text in row.args.items()})
    headers = {"X-CSRFToken": CSRF} if csrf else {}
    call: Callable[..., Any] = getattr(client, row.method.lower())
    with transaction.atomic():
        if row.is_api:
            response = call(url, **_body(row, json.dumps(row.data), "application/json"), headers=headers)
        else:
            response = call(url, **_body(row, row.data, None), headers=headers)
        transaction.set_rollback(True)
    assert isinstance(response, HttpResponse)
    return response


def _body(row: Row, data: Any, content_type: str | None) -> dict[str, Any]:
    if row.method == "GET":
        return {}
    if content_type or row.method != "POST":
        return {"data": data if content_type else "", "content_type": content_type or "text/plain"}
    return {"data": data}


def _answer(response: HttpResponse) -> int | str:
    if response.status_code == 302 and response["Location"].startswith("/account/login/?next="):
        return TO_LOGIN
    return response.status_code


def _value(world: World, text: str) -> object:
    if text.startswith("="):
        return text[1:]
    found: object = reduce(getattr, text.split("."), world)
    return found
