"""The pages of sessions and workspaces: what they offer, refuse, and say."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from coi_web.operations.models import Operation
from sessions.models import Session, Workspace
from sessions.services.lifecycle import kill_session, start_session, stop_session
from tests.support.cast import NASTY_NAME, Cast
from tests.support.sessions import ready_workspace, run_queued, running_session

pytestmark = pytest.mark.django_db

SignedIn = Callable[[str], Client]


@pytest.fixture
def signed_in(cast: Cast) -> SignedIn:
    def client_of(name: str) -> Client:
        client = Client()
        client.force_login(cast.people()[name])
        return client

    return client_of


@pytest.fixture(autouse=True)
def _engine(fake_incus: object) -> None:
    """Operations run on the fake."""


def text_of(response: Any) -> str:
    """The words on the page, tags and runs of white space taken out."""
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def form(**more: str) -> dict[str, str]:
    return {"mode": "ephemeral", "profile": "default", "once": "a" * 32} | more


# -- starting ----------------------------------------------------------------------------------------------
def test_a_session_on_a_new_workspace(signed_in: SignedIn, cast: Cast) -> None:
    client = signed_in("owner")
    values = form(
        workspace="new", name="shop", size_gib="5", team="shop", mode="persistent", open_terminal="on"
    )
    response = client.post("/sessions/new/", values)
    session = Session.objects.get()
    assert response.status_code == 302
    assert response["Location"] == f"/sessions/{session.name}/?then=terminal"
    assert (session.workspace_slug, session.mode, session.team) == ("ana.shop", "persistent", cast.team)
    assert Workspace.objects.get().size_bytes == 5 * 1024**3

    waiting = client.get(response["Location"])
    assert "The terminal opens as soon as it runs" in text_of(waiting)
    run_queued()
    assert client.get(response["Location"])["Location"] == f"/sessions/{session.name}/terminal/"
    hinted = client.get(response["Location"], headers={"HX-Request": "true"})
    assert hinted["HX-Redirect"] == f"/sessions/{session.name}/terminal/"


def test_the_same_form_twice_makes_one_session(signed_in: SignedIn, cast: Cast) -> None:
    ready_workspace(cast.actor("owner"), "shop")
    client = signed_in("owner")
    first = client.post("/sessions/new/", form(workspace="ana.shop"))
    second = client.post("/sessions/new/", form(workspace="ana.shop"))
    assert first["Location"] == second["Location"]
    assert Session.objects.count() == 1


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "Shop", "-x", "x" * 300, "🦀", "<b>", "ana.shop", " ", "x\x00y", "$(id)"]
)
def test_names_that_cannot_be_used(signed_in: SignedIn, name: str) -> None:
    response = signed_in("owner").post("/sessions/new/", form(workspace="new", name=name, size_gib="1"))
    assert response.status_code == 422
    assert not Workspace.objects.exists()
    assert 'id="id_name_errors"' in response.content.decode()
    assert 'value="<b>' not in response.content.decode()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"workspace": "ben.bills"}, "Select a valid choice"),
        ({"workspace": "ana.shop", "mode": "both"}, "Select a valid choice"),
        ({"workspace": "ana.shop", "profile": "root"}, "Select a valid choice"),
        ({"workspace": "ana.shop", "slot": "99"}, "Select a valid choice"),
        ({"workspace": "new", "name": "ok", "team": "bank"}, "Select a valid choice"),
        ({"workspace": "new", "name": "ok", "size_gib": "-1"}, "Select a valid choice"),
    ],
)
def test_forged_values_are_refused(
    signed_in: SignedIn, cast: Cast, values: dict[str, str], problem: str
) -> None:
    ready_workspace(cast.actor("owner"), "shop")
    ready_workspace(cast.actor("teammate"), "bills", team=cast.team)
    response = signed_in("owner").post("/sessions/new/", form(**values))
    assert response.status_code == 422
    assert problem in text_of(response)
    assert not Session.objects.exists()


def test_over_the_limit_is_red_before_and_refused_after(
    signed_in: SignedIn, cast: Cast, settings: Any
) -> None:
    settings.COI_MAX_SESSIONS_PER_USER = 1
    workspace = ready_workspace(cast.actor("owner"), "shop")
    client = signed_in("owner")
    assert "is-full" not in client.get("/sessions/new/").content.decode()
    running_session(cast.actor("owner"), workspace)

    page = client.get("/sessions/new/")
    assert "2 of 1" in text_of(page)
    assert "Over your limit" in text_of(page)
    assert re.search(r'<button[^>]*form="new-session"[^>]* disabled>', page.content.decode())
    response = client.post("/sessions/new/", form(workspace="ana.shop"))
    assert response.status_code == 422
    assert "You have 1 of 1 sessions" in text_of(response)


def test_the_preview_follows_what_is_typed(signed_in: SignedIn, cast: Cast) -> None:
    session = running_session(cast.actor("owner"), ready_workspace(cast.actor("owner"), "shop"))
    client = signed_in("owner")

    def preview(**values: str) -> str:
        response = client.get("/sessions/new/", values, headers={"HX-Request": "true"})
        assert "<html" not in response.content.decode()
        return text_of(response)

    assert f"The container {session.name[:-1]}2 starts on ana.shop, in slot 2" in preview(
        workspace="ana.shop"
    )
    assert "Slot 1 of ana.shop is in use" in preview(workspace="ana.shop", slot="1")
    assert "Give it a name" in preview(workspace="new")
    assert "You have a workspace ana.shop already" in preview(workspace="new", name="shop")
    assert "beginning with a letter" in preview(workspace="new", name="<script>")
    assert "stopped and kept" in preview(workspace="ana.shop", mode="persistent")
    assert "deleted; files in /workspace stay" in preview(workspace="ana.shop", mode="ephemeral")


# -- looking -----------------------------------------------------------------------------------------------
def test_empty_pages_offer_the_first_step(signed_in: SignedIn) -> None:
    client = signed_in("stranger")
    for path, button in (
        ("/", "/sessions/new/"),
        ("/sessions/", "/sessions/new/"),
        ("/workspaces/", "/workspaces/new/"),
    ):
        assert f'class="btn btn-primary" href="{button}"' in client.get(path).content.decode(), path


def test_names_of_people_are_escaped_everywhere(signed_in: SignedIn, cast: Cast) -> None:
    actor = cast.actor("owner")
    session = running_session(actor, ready_workspace(actor, "shop", team=cast.team))
    client = signed_in("lead")
    paths = [
        "/",
        "/?team=shop",
        "/sessions/",
        "/sessions/new/",
        f"/sessions/{session.name}/",
        "/workspaces/",
        "/operations/",
    ]
    for path in paths:
        page = client.get(path).content.decode()
        assert "<b>&" not in page, path
        assert NASTY_NAME not in page, path


def test_overview_shows_what_needs_a_look(signed_in: SignedIn, cast: Cast) -> None:
    actor = cast.actor("owner")
    frozen = running_session(actor, ready_workspace(actor, "shop", team=cast.team))
    Session.objects.filter(pk=frozen.pk).update(state="frozen", observed_state="frozen")
    for who, path in (("owner", "/"), ("lead", "/?team=shop")):
        words = text_of(signed_in(who).get(path))
        assert "Needs a look" in words and frozen.name in words
    assert "Needs a look" not in text_of(signed_in("lead").get("/"))


def test_somebody_elses_team_wall_is_not_there(signed_in: SignedIn) -> None:
    assert signed_in("owner").get("/?team=bank").status_code == 404
    assert signed_in("owner").get("/?team=nowhere").status_code == 404


def test_list_says_what_it_did_not_understand(signed_in: SignedIn) -> None:
    words = text_of(signed_in("owner").get("/sessions/", {"q": "colour:red"}))
    assert "There is no filter “colour:”" in words


def test_a_long_list_costs_no_more_queries(
    signed_in: SignedIn, cast: Cast, django_assert_max_num_queries: Any, settings: Any
) -> None:
    settings.COI_MAX_SESSIONS_PER_USER = settings.COI_MAX_WORKSPACES_PER_USER = 100
    actor = cast.actor("owner")
    for number in range(3):
        workspace = ready_workspace(actor, f"w{number}", team=cast.team)
        for _ in range(9):
            start_session(actor=actor, workspace=workspace)
    client = signed_in("lead")
    for path in ("/", "/?team=shop", "/sessions/", "/workspaces/", "/operations/", "/sessions/palette/"):
        with django_assert_max_num_queries(20):
            assert client.get(path).status_code == 200


@pytest.mark.parametrize("page", ["0", "-1", "zwei", "999999999999999999999"])
def test_pages_that_do_not_exist_show_one_that_does(signed_in: SignedIn, page: str) -> None:
    for path in ("/sessions/", "/workspaces/", "/operations/"):
        assert signed_in("owner").get(path, {"page": page}).status_code == 200


def test_a_failed_start_says_why_and_what_next(signed_in: SignedIn, cast: Cast, fake_incus: Any) -> None:
    from coi_web.errors import IncusRejected

    actor = cast.actor("owner")
    workspace = ready_workspace(actor, "shop")
    fake_incus.behave("create_instance", fails=IncusRejected("The image is missing. Ask an administrator."))
    session, operation = start_session(actor=actor, workspace=workspace)
    run_queued()
    page = signed_in("owner").get(f"/sessions/{session.public_id}/")
    operation.refresh_from_db()
    assert operation.state == Operation.State.FAILED
    assert "The image is missing" in text_of(page)
    assert "Start a new session on ana.shop" in text_of(page)
    assert "The image is missing" in text_of(signed_in("owner").get(f"/operations/{operation.public_id}/"))


# -- acting ------------------------------------------------------------------------------------------------
def test_stop_then_start_again(signed_in: SignedIn, cast: Cast) -> None:
    session = running_session(cast.actor("owner"), ready_workspace(cast.actor("owner"), "shop"))
    client = signed_in("owner")
    ask = client.get(f"/sessions/{session.name}/stop/", headers={"HX-Request": "true"})
    assert "shut down and kept" in text_of(ask)
    assert client.post(f"/sessions/{session.name}/stop/").status_code == 302
    run_queued()
    page = client.get(f"/sessions/{session.name}/").content.decode()
    assert 'data-state="stopped"' in page
    assert "Open terminal" not in page
    assert client.post(f"/sessions/{session.name}/start-again/").status_code == 302
    run_queued()
    session.refresh_from_db()
    assert session.state == "running"


def test_killing_a_persistent_session_needs_its_name(signed_in: SignedIn, cast: Cast) -> None:
    workspace = ready_workspace(cast.actor("owner"), "shop")
    session = running_session(cast.actor("owner"), workspace, mode="persistent")
    client = signed_in("owner")
    for typed in ("", "yes", session.name.upper()):
        response = client.post(f"/sessions/{session.name}/kill/", {"confirm": typed})
        assert response.status_code == 400
        assert f"Type {session.name} to confirm" in text_of(response)
    assert client.post(f"/sessions/{session.name}/kill/", {"confirm": session.name}).status_code == 302
    run_queued()
    session.refresh_from_db()
    assert session.state == "ended"


def test_what_the_state_does_not_allow_is_refused_with_words(signed_in: SignedIn, cast: Cast) -> None:
    session = running_session(cast.actor("owner"), ready_workspace(cast.actor("owner"), "shop"))
    stop_session(actor=cast.actor("owner"), session=session)
    run_queued()
    response = signed_in("owner").post(f"/sessions/{session.name}/stop/")
    assert response.status_code == 409
    assert "is stopped and cannot be asked to stop" in text_of(response)
    assert "bad-state" in text_of(response)


def test_a_teammate_sees_no_buttons(signed_in: SignedIn, cast: Cast) -> None:
    session = running_session(
        cast.actor("owner"), ready_workspace(cast.actor("owner"), "shop", team=cast.team)
    )
    url = f"/sessions/{session.name}/"
    theirs, leads, own = (signed_in(who).get(url).content.decode() for who in ("teammate", "lead", "owner"))
    assert [("Open terminal" in page, "/kill/" in page) for page in (theirs, leads, own)] == [
        (False, False), (False, True), (True, True),
    ]  # fmt: skip


def test_a_workspace_in_use_is_not_deleted(signed_in: SignedIn, cast: Cast) -> None:
    workspace = ready_workspace(cast.actor("owner"), "shop")
    session = running_session(cast.actor("owner"), workspace)
    client = signed_in("owner")
    response = client.post("/workspaces/ana.shop/delete/", {"confirm": "ana.shop"})
    assert response.status_code == 409
    assert session.name in text_of(response)

    kill_session(actor=cast.actor("owner"), session=session)
    run_queued()
    assert client.post("/workspaces/ana.shop/delete/", {"confirm": "shop"}).status_code == 400
    assert client.post("/workspaces/ana.shop/delete/", {"confirm": "ana.shop"}).status_code == 302
    run_queued()
    assert not Workspace.objects.exists()
    assert "The workspace has been deleted since" in text_of(client.get(f"/sessions/{session.public_id}/"))


def test_a_second_workspace_of_the_same_name_is_refused_at_the_field(signed_in: SignedIn, cast: Cast) -> None:
    ready_workspace(cast.actor("owner"), "shop")
    response = signed_in("owner").post("/workspaces/new/", {"name": "shop", "size_gib": "1"})
    assert response.status_code == 422
    assert "You have a workspace “shop” already" in text_of(response)
    assert 'id="id_name_errors"' in response.content.decode()


# -- the browser's side ------------------------------------------------------------------------------------
def test_only_the_terminal_page_relaxes_styles_and_none_relaxes_scripts(
    signed_in: SignedIn, cast: Cast
) -> None:
    session = running_session(cast.actor("owner"), ready_workspace(cast.actor("owner"), "shop"))
    client = signed_in("owner")

    def policy(path: str) -> dict[str, str]:
        parts = client.get(path)["Content-Security-Policy"].split(";")
        return {name: rest for name, _, rest in (part.strip().partition(" ") for part in parts)}

    terminal, detail = policy(f"/sessions/{session.name}/terminal/"), policy(f"/sessions/{session.name}/")
    assert set(terminal["style-src"].split()) == {"'self'", "'unsafe-inline'"}
    assert detail["style-src"] == "'self'"
    assert terminal["script-src"] == detail["script-src"] == "'self'"


def test_palette_lists_only_what_one_sees(signed_in: SignedIn, cast: Cast) -> None:
    session = running_session(
        cast.actor("owner"), ready_workspace(cast.actor("owner"), "shop", team=cast.team)
    )

    def labels(who: str) -> set[str]:
        return {item["label"] for item in signed_in(who).get("/sessions/palette/").json()["items"]}

    assert {session.name, f"Terminal of {session.name}", "ana.shop"} <= labels("owner")
    assert session.name in labels("teammate") and f"Terminal of {session.name}" not in labels("teammate")
    assert labels("stranger") == {"New session"}


def test_signed_out_fragments_send_the_page_to_the_login(cast: Cast) -> None:
    response = Client().get(reverse("operations:drawer"), headers={"HX-Request": "true"})
    assert (response.status_code, response.content) == (204, b"")
    assert response["HX-Redirect"].startswith("/account/login/")


def test_cancelling_from_the_session_page(signed_in: SignedIn, cast: Cast) -> None:
    actor = cast.actor("owner")
    session, operation = start_session(actor=actor, workspace=ready_workspace(actor, "shop"))
    client = signed_in("owner")
    back = f"/sessions/{session.public_id}/"
    response = client.post(f"/operations/{operation.public_id}/cancel/", {"next": back})
    assert response["Location"] == back
    evil = client.post(f"/operations/{operation.public_id}/cancel/", {"next": "https://example.org/"})
    assert evil["Location"] == f"/operations/{operation.public_id}/"
    session.refresh_from_db()
    assert session.ended_reason == "cancelled"
