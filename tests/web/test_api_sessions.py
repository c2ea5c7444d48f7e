"""Workspaces, sessions and operations over the API, on the fake engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from coi_web.accounts.services import create_token
from coi_web.errors import IncusUnavailable
from coi_web.incus.fake import FakeIncus
from coi_web.operations.models import Operation
from sessions.models import Session, Workspace
from tests.support.cast import Cast
from tests.support.sessions import run_queued

API = "/api/v1/"


class Caller:
    def __init__(self, cast: Cast, who: str) -> None:
        text = create_token(actor=cast.actor(who), name="test", scope="write", days=1)[1]
        self.client, self.headers = Client(), {"Authorization": f"Bearer {text}"}

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        data = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(self.client, method.lower())(API + path, headers=self.headers, **data)


@pytest.fixture
def call(cast: Cast, fake_incus: FakeIncus) -> Caller:
    return Caller(cast, "owner")


def test_from_a_workspace_to_its_end(call: Caller, cast: Cast, fake_incus: FakeIncus) -> None:
    begun = call("POST", "workspaces/", {"name": "shop", "team": "shop", "size_bytes": 64 * 1024**2})
    assert begun.status_code == 202
    assert begun.json()["workspace"]["slug"] == "ana.shop"
    run_queued()
    assert call("GET", f"operations/{begun.json()['operation']}/").json()["state"] == "succeeded"
    assert call("GET", "workspaces/ana.shop/").json()["state"] == "ready"

    started = call("POST", "sessions/", {"workspace": "ana.shop", "mode": "persistent", "once": "a1"})
    assert started.status_code == 202
    session = started.json()["session"]
    assert (session["state"], session["slot"], session["team"]) == ("queued", 1, "shop")
    again = call("POST", "sessions/", {"workspace": "ana.shop", "mode": "persistent", "once": "a1"})
    assert again.json()["session"]["id"] == session["id"], "sent twice it is one session"
    run_queued()
    for key in (session["name"], session["id"]):
        seen = call("GET", f"sessions/{key}/").json()
        assert (seen["state"], seen["id"]) == ("running", session["id"])
    assert {"stop", "end", "kill"} <= set(seen["actions"])
    assert {one.name for one in fake_incus.instances()} == {session["name"]}

    in_use = call("DELETE", "workspaces/ana.shop/")
    assert (in_use.status_code, in_use.json()["error"]["code"]) == (409, "workspace-in-use")
    assert in_use.json()["error"]["data"]["sessions"] == [session["name"]]

    for action, state in (("stop", "stopped"), ("start-again", "running"), ("kill", "ended")):
        acted = call("POST", f"sessions/{session['id']}/{action}/")
        assert acted.status_code == 202, acted.json()
        run_queued()
        assert call("GET", f"sessions/{session['id']}/").json()["state"] == state
    assert fake_incus.instances() == ()
    late = call("POST", f"sessions/{session['id']}/stop/")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "bad-state")

    gone = call("DELETE", "workspaces/ana.shop/")
    assert (gone.status_code, gone.json()["workspace"]["state"]) == (202, "deleting")
    run_queued()
    assert call("GET", "workspaces/ana.shop/").status_code == 404
    assert not Workspace.objects.exists()
    assert call("GET", f"sessions/{session['id']}/").json()["workspace"] == "ana.shop", "history stays"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b",
        "..",
        ".",
        "-a",
        "A",
        "x" * 32,
        "x" * 300,
        "😀",
        "<b>",
        "a b",
        "a\x00b",
        "a.b",
        "ana' OR 1=1--",
        None,
        5.5,
    ],
)
def test_bad_workspace_names(call: Caller, name: Any) -> None:
    response = call("POST", "workspaces/", {"name": name})
    assert response.status_code == 400
    assert response.json()["error"]["data"]["field"] == "name"
    assert not Workspace.objects.exists()


def test_bad_sizes_and_teams(call: Caller) -> None:
    for size in (0, -1, 1, 2**70, "many", 1.5):
        response = call("POST", "workspaces/", {"name": "a", "size_bytes": size})
        assert response.status_code == 400, size
    assert call("POST", "workspaces/", {"name": "a", "team": "nowhere"}).status_code == 404
    assert call("POST", "workspaces/", {"name": "a", "team": "bank"}).status_code == 404, "a team of others"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "immortal"),
        ("slot", 0),
        ("slot", 11),
        ("slot", "x"),
        ("profile", "nope"),
        ("once", "a b"),
        ("workspace", "x" * 65),
    ],
)
def test_bad_starts(call: Caller, field: str, value: Any) -> None:
    call("POST", "workspaces/", {"name": "shop"})
    response = call("POST", "sessions/", {"workspace": "ana.shop", field: value})
    assert response.status_code in (400, 404), response.json()
    assert not Session.objects.exists()


def test_the_cap_names_limit_and_use(call: Caller, settings: Any) -> None:
    settings.COI_MAX_SESSIONS_PER_USER = 1
    call("POST", "workspaces/", {"name": "shop"})
    assert call("POST", "sessions/", {"workspace": "ana.shop"}).status_code == 202
    error = call("POST", "sessions/", {"workspace": "ana.shop"})
    assert error.status_code == 409
    body = error.json()["error"]
    assert (body["code"], body["data"]["limit"], body["data"]["use"]) == ("quota-exceeded", 1, 1)


def test_lists_filter(call: Caller, cast: Cast) -> None:
    call("POST", "workspaces/", {"name": "one", "team": "shop"})
    call("POST", "workspaces/", {"name": "two"})
    for workspace in ("one", "two", "two"):
        call("POST", "sessions/", {"workspace": f"ana.{workspace}"})
    run_queued()
    newest = call("GET", "sessions/").json()["results"][0]
    call("POST", f"sessions/{newest['id']}/kill/")
    run_queued()

    def count(caller: Caller, query: str) -> int:
        return len(caller("GET", f"sessions/?{query}").json()["results"])

    assert [
        count(call, q) for q in ("", "live=true", "live=false", "state=running", "workspace=ana.two")
    ] == [3, 2, 1, 2, 2]
    assert count(call, "owner=me") == count(call, "owner=ana") == 3
    teammate, stranger = Caller(cast, "teammate"), Caller(cast, "stranger")
    assert (count(teammate, ""), count(teammate, "owner=me"), count(stranger, "owner=ana")) == (1, 0, 0)
    for query in ("state=dancing", "live=maybe"):
        assert call("GET", f"sessions/?{query}").status_code == 400


def test_what_a_person_may_do_is_listed(call: Caller, cast: Cast) -> None:
    call("POST", "workspaces/", {"name": "shop", "team": "shop"})
    name = call("POST", "sessions/", {"workspace": "ana.shop"}).json()["session"]["name"]
    run_queued()
    actions = {
        who: Caller(cast, who)("GET", f"sessions/{name}/").json()["actions"]
        for who in ("lead", "teammate", "auditor")
    }
    assert actions == {"lead": ["end", "kill", "stop"], "teammate": [], "auditor": []}
    assert "attach" in call("GET", f"sessions/{name}/").json()["actions"]


def test_cancelling(call: Caller, cast: Cast) -> None:
    begun = call("POST", "workspaces/", {"name": "shop", "team": "shop"}).json()
    path = f"operations/{begun['operation']}/"
    assert call("GET", "operations/?state=queued").json()["results"][0]["id"] == begun["operation"]
    for who, status in (("teammate", 403), ("auditor", 403), ("stranger", 404)):
        assert Caller(cast, who)("POST", path + "cancel/").status_code == status
    assert call("POST", path + "cancel/").json()["state"] == "cancelled"
    assert call("POST", path + "cancel/").json()["state"] == "cancelled", "safe to repeat"
    assert call("GET", "operations/?state=sleeping").status_code == 400


def test_an_unknown_action_and_unknown_things(call: Caller) -> None:
    call("POST", "workspaces/", {"name": "shop"})
    name = call("POST", "sessions/", {"workspace": "ana.shop"}).json()["session"]["name"]
    assert call("POST", f"sessions/{name}/dance/").status_code == 400
    for path in (
        "sessions/coi-00000000-1/",
        f"sessions/{'0' * 36}/",
        "workspaces/ana.none/",
        f"operations/{name}/",
    ):
        assert call("GET", path).status_code == 404


def test_a_start_while_incus_is_away_waits_in_the_queue(call: Caller, fake_incus: FakeIncus) -> None:
    call("POST", "workspaces/", {"name": "shop"})
    run_queued()
    away = IncusUnavailable("Incus does not answer.")
    for name in ("instance", "instances", "image", "volume", "volumes", "create_instance"):
        fake_incus.behave(name, fails=away)
    begun = call("POST", "sessions/", {"workspace": "ana.shop"}).json()
    run_queued()
    operation = call("GET", f"operations/{begun['operation']}/").json()
    assert (operation["state"], operation["attempts"]) == ("queued", 1)
    assert "trying again" in operation["message"]
    fake_incus.behave_well()
    Operation.objects.update(not_before_at=Operation.objects.get(public_id=begun["operation"]).created_at)
    run_queued()
    assert call("GET", f"operations/{begun['operation']}/").json()["state"] == "succeeded"
