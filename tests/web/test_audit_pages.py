"""The audit page: who sees which rows, the search language, paging, and the chain's badge."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from coi_web.accounts.models import User
from coi_web.audit.guards import install_guards, remove_guards
from coi_web.audit.models import AuditEvent
from coi_web.audit.services import Target, record
from tests.support.cast import NASTY_NAME, Cast
from tests.support.world import make_world


def _client(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def log(cast: Cast) -> list[AuditEvent]:
    """One event each: of the owner in the team, of the stranger, of the other team, and a refusal."""
    return [
        record(
            "team.change", actor=cast.actor("owner"), target=Target("team", "1", NASTY_NAME), team=cast.team
        ),
        record("account.theme-changed", actor=cast.actor("stranger")),
        record(
            "team.change", actor=cast.actor("other"), target=Target("team", "2", "bank"), team=cast.other_team
        ),
        record(
            "user.create", actor=cast.actor("teammate"), target=Target("user", "", "x"), outcome="refused"
        ),
    ]


@pytest.mark.parametrize(
    ("who", "seen"),
    [
        ("owner", {0}),
        ("lead", {0}),
        ("other", {2}),
        ("stranger", {1}),
        ("teammate", {3}),
        ("auditor", {0, 1, 2, 3}),
        ("administrator", {0, 1, 2, 3}),
    ],
)
def test_who_sees_which_rows(who: str, seen: set[int], cast: Cast, log: list[AuditEvent]) -> None:
    """In the page, in an event's own page and over the API alike."""
    client = _client(cast.people()[who])
    page = client.get("/audit/").content.decode()
    listed = {row["sequence"] for row in client.get("/api/v1/audit/").json()["results"]}
    for number, event in enumerate(log):
        assert (f'href="/audit/{event.sequence}/"' in page) is (number in seen), (who, number)
        assert (event.sequence in listed) is (number in seen)
        assert client.get(f"/audit/{event.sequence}/").status_code == (200 if number in seen else 404)


def test_reaching_for_what_one_may_not_do_is_recorded_once(
    cast: Cast, django_capture_on_commit_callbacks: Any
) -> None:
    """By a page, by a page whose service refuses, and by the API; what cannot be seen leaves no trace."""
    world = make_world(cast, django_capture_on_commit_callbacks)
    teammate, stranger, name = _client(cast.teammate), _client(cast.stranger), world.session.name
    before = AuditEvent.objects.latest("sequence").sequence
    assert teammate.post(f"/sessions/{name}/stop/").status_code == 403
    assert teammate.get("/health/").status_code == 403
    assert teammate.post(f"/api/v1/sessions/{name}/stop/").status_code == 403
    assert teammate.get("/api/v1/users/").status_code == 403
    assert stranger.post(f"/sessions/{name}/stop/").status_code == 404
    events = AuditEvent.objects.filter(sequence__gt=before, actor_name="ben").order_by("sequence")
    assert [(event.action, event.outcome, event.target_name) for event in events] == [
        ("access.refused", "refused", f"/sessions/{name}/stop/"),
        ("access.refused", "refused", "/health/"),
        ("session.stop", "refused", name),
        ("access.refused", "refused", "/api/v1/users/"),
    ]
    assert not AuditEvent.objects.filter(sequence__gt=before, actor_name="sven").exists()


def test_names_are_escaped_and_sentences_read_well(cast: Cast, log: list[AuditEvent]) -> None:
    client = _client(cast.auditor)
    for url in ("/audit/", f"/audit/{log[0].sequence}/"):
        page = client.get(url).content.decode()
        assert NASTY_NAME not in page
        assert f"ana changed the team {NASTY_NAME}" in unescape(page)
    assert "ben was refused: created the account x" in unescape(client.get("/audit/").content.decode())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor:ana", [0]),
        ("actor:ANA", [0]),
        ("action:team.*", [2, 0]),
        ("action:team.* team:bank", [2]),
        ("outcome:refused", [3]),
        ("target:bank", [2]),
        ("bank", [2]),
        ("since:1h", [3, 2, 1, 0]),
        ("since:today until:2999-01-01", [3, 2, 1, 0]),
        ("until:2001-01-01", []),
        ("request:test-request actor:sven", [1]),
        ("actor:'no such person'", []),
        ("'unbalanced", []),
    ],
)
def test_the_search(query: str, found: list[int], cast: Cast, log: list[AuditEvent]) -> None:
    client = _client(cast.auditor)
    answer = client.get("/api/v1/audit/", {"q": query}).json()
    known = {event.sequence: number for number, event in enumerate(log)}
    assert [known[row["sequence"]] for row in answer["results"] if row["sequence"] in known] == found


@pytest.mark.parametrize(
    "query", ["nope:x", "since:yesterday", "since:²h", "x" * 501, "until:", "since:99999999d"]
)
def test_a_search_that_cannot_be_read_says_why(query: str, cast: Cast) -> None:
    client = _client(cast.auditor)
    page = client.get("/audit/", {"q": query})
    assert page.status_code == 400
    assert b"data-error-message" in page.content
    assert client.get("/api/v1/audit/", {"q": query}).json()["error"]["code"] == "invalid-input"


def test_pages_follow_by_key(cast: Cast) -> None:
    """Rows that come in while somebody pages shift nothing."""
    client = _client(cast.auditor)
    for number in range(120):
        record("account.theme-changed", actor=cast.actor("owner"), data={"number": number})
    url, seen = "/audit/?q=actor:ana", []
    while True:
        page = client.get(url).content.decode()
        seen += [int(number) for number in re.findall(r'data-href="/audit/(\d+)/"', page)]
        record("account.theme-changed", actor=cast.actor("owner"))
        following = re.search(r'rel="next" href="([^"]+)"', page)
        if following is None:
            break
        url = "/audit/" + unescape(following[1])
    mine = AuditEvent.objects.filter(actor_name="ana").order_by("-sequence")
    assert seen == [sequence for sequence in mine.values_list("sequence", flat=True) if sequence <= seen[0]]
    assert len(seen) == 120
    for bad in ("x", "-1", "²", "9" * 30):
        assert client.get("/audit/", {"before": bad}).status_code == 400
        assert client.get("/api/v1/audit/", {"after": bad}).status_code == 400
    assert client.get(f"/audit/{'9' * 30}/").status_code == 404


def test_the_drawer_is_a_fragment(cast: Cast, log: list[AuditEvent]) -> None:
    response = _client(cast.auditor).get(f"/audit/{log[0].sequence}/", headers={"HX-Request": "true"})
    assert b"<html" not in response.content
    assert log[0].hash.encode() in response.content
    assert "HX-Request" in response["Vary"]


def test_links_from_an_event_lead_on(cast: Cast, log: list[AuditEvent]) -> None:
    client = _client(cast.auditor)
    page = client.get(f"/audit/{log[0].sequence}/").content.decode()
    links = [unescape(link) for link in re.findall(r'href="(/audit/\?q=[^"]+)"', page)]
    assert len(links) == 5
    for link in links:
        assert f'href="/audit/{log[0].sequence}/"' in client.get(link).content.decode(), link


def test_the_badge_tells_of_tampering(cast: Cast, log: list[AuditEvent]) -> None:
    client = _client(cast.auditor)
    assert b"chain whole" in client.get("/audit/").content
    assert b"chain whole" not in _client(cast.owner).get("/audit/").content
    remove_guards(connection)
    event = record("account.theme-changed", actor=cast.actor("owner"))
    AuditEvent.objects.filter(pk=event.pk).update(actor_name="sven")
    install_guards(connection)
    assert f"chain broken at {event.sequence}".encode() in client.get("/audit/").content
    answer = client.get("/api/v1/audit/chain/").json()
    assert (answer["status"], answer["broken_at"]) == ("broken", event.sequence)


def test_the_list_costs_the_same_however_many_rows(cast: Cast) -> None:
    client = _client(cast.auditor)
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get("/audit/").status_code == 200
        counts.append(len(queries))
        for _ in range(60):
            record("account.theme-changed", actor=cast.actor("owner"))
    assert counts[0] == counts[1] <= 12, counts
