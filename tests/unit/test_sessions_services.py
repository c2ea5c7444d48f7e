"""What people may ask for, what is refused, and what is written down about it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from pytest_django import Settings

from coi_web.accounts.models import Membership
from coi_web.audit.actors import Actor
from coi_web.audit.models import AuditEvent
from coi_web.audit.services import verify_chain
from coi_web.errors import CoiError, Conflict, Forbidden, InvalidInput, NotFound, QuotaExceeded, SignedOut
from coi_web.incus.fake import FakeIncus
from coi_web.operations.models import Operation
from sessions.access import actions_by_session, actions_for, get_session_for, get_workspace_for
from sessions.models import Session, Workspace
from sessions.queries import sessions_visible_to, workspaces_visible_to
from sessions.services.lifecycle import perform, start_session
from sessions.services.workspaces import MAX_SIZE_BYTES, MIN_SIZE_BYTES, create_workspace, delete_workspace
from sessions.states import Action
from tests.support.cast import Cast
from tests.support.sessions import MIB, ready_workspace, run_queued, running_session, words_of


@pytest.fixture
def workspace(cast: Cast, fake_incus: FakeIncus) -> Workspace:
    return ready_workspace(cast.actor("owner"), team=cast.team)


def last_event() -> AuditEvent:
    event = AuditEvent.objects.first()
    assert event is not None
    return event


# -- workspaces --------------------------------------------------------------------------------------------


def test_a_workspace_becomes_a_volume(workspace: Workspace, fake_incus: FakeIncus) -> None:
    assert workspace.slug == "ana.shop"
    (volume,) = fake_incus.volumes("coi-web")
    assert volume.name == workspace.volume
    assert volume.size_bytes == 64 * MIB
    assert volume.config["user.coi_web.workspace"] == str(workspace.public_id)
    assert volume.config["initial.uid"] == "1000"
    assert [event.action for event in AuditEvent.objects.all()] == ["workspace.create"]


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", "../../etc", "x" * 300, "😀", "<b>", "Shop", "a\nb", "-rf", "a b", "ana.shop"]
)
def test_a_bad_name_is_refused_before_anything_exists(cast: Cast, fake_incus: FakeIncus, name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        create_workspace(actor=cast.actor("owner"), name=name, size_bytes=64 * MIB)
    assert refused.value.data["field"] == "name"
    assert not Workspace.objects.exists()
    assert not Operation.objects.exists()
    assert last_event().outcome == "refused"


@pytest.mark.parametrize(("size", "fits"), [
    (MIN_SIZE_BYTES - 1, False), (MIN_SIZE_BYTES, True), (MAX_SIZE_BYTES, True), (MAX_SIZE_BYTES + 1, False),
    (0, False), (-1, False),
])  # fmt: skip
def test_sizes(cast: Cast, fake_incus: FakeIncus, size: int, fits: bool) -> None:
    if fits:
        create_workspace(actor=cast.actor("owner"), name="shop", size_bytes=size)
    else:
        with pytest.raises(InvalidInput):
            create_workspace(actor=cast.actor("owner"), name="shop", size_bytes=size)
    assert Workspace.objects.exists() == fits


def test_the_same_name_again_is_refused_and_retried_only_after_a_failure(
    cast: Cast, fake_incus: FakeIncus
) -> None:
    actor = cast.actor("owner")
    fake_incus.behave("create_volume", fails=_rejected(), times=1)
    first, failed = create_workspace(actor=actor, name="shop")
    run_queued()
    first.refresh_from_db()
    failed.refresh_from_db()
    assert (first.state, failed.state, failed.error_code) == ("failed", "failed", "incus-rejected")
    again, _ = create_workspace(actor=actor, name="shop")
    assert again.pk == first.pk
    run_queued()
    again.refresh_from_db()
    assert again.state == "ready"
    with pytest.raises(Conflict) as taken:
        create_workspace(actor=actor, name="shop")
    assert taken.value.code == "workspace-exists"


def test_the_cap_on_workspaces_names_limit_use_and_who_helps(
    cast: Cast, fake_incus: FakeIncus, settings: Settings
) -> None:
    settings.COI_MAX_WORKSPACES_PER_USER = 2
    actor = cast.actor("owner")
    for name in ("one", "two"):
        create_workspace(actor=actor, name=name)
    with pytest.raises(QuotaExceeded) as refused:
        create_workspace(actor=actor, name="three")
    assert refused.value.data | {} == {
        "limit": 2, "use": 2, "resource": "workspaces", "raised_by": "administrator",
    }  # fmt: skip
    assert "2 of 2" in refused.value.message
    assert "administrator" in refused.value.message
    create_workspace(actor=cast.actor("teammate"), name="three")


def test_only_a_member_gives_a_workspace_to_a_team(cast: Cast, fake_incus: FakeIncus) -> None:
    with pytest.raises(Forbidden):
        create_workspace(actor=cast.actor("owner"), name="shop", team=cast.other_team)
    made, _ = create_workspace(actor=cast.actor("owner"), name="shop", team=cast.team)
    assert made.team_name == cast.team.name


def test_a_workspace_in_use_cannot_be_deleted_and_the_refusal_names_the_session(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    actor = cast.actor("owner")
    session = running_session(actor, workspace, mode="persistent")
    with pytest.raises(Conflict) as refused:
        delete_workspace(actor=actor, workspace=workspace)
    assert refused.value.code == "workspace-in-use"
    assert session.name in refused.value.message
    assert last_event().outcome == "refused"
    perform("kill", actor=actor, session=session)
    run_queued()
    delete_workspace(actor=actor, workspace=workspace)
    run_queued()
    assert not Workspace.objects.exists()
    assert fake_incus.volumes("coi-web") == ()
    session.refresh_from_db()
    assert (session.workspace_id, session.workspace_slug, session.state) == (None, "ana.shop", "ended")


def test_deleting_twice_is_one_operation_and_a_failed_one_can_be_repeated(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    actor = cast.actor("owner")
    fake_incus.behave("delete_volume", fails=_rejected(), times=1)
    first = delete_workspace(actor=actor, workspace=workspace)
    assert delete_workspace(actor=actor, workspace=workspace).pk == first.pk
    with pytest.raises(Conflict) as deleting:
        start_session(actor=actor, workspace=workspace)
    assert deleting.value.code == "workspace-deleting"
    run_queued()
    workspace.refresh_from_db()
    assert workspace.state == "failed"
    delete_workspace(actor=actor, workspace=workspace)
    run_queued()
    assert not Workspace.objects.exists()


# -- starting ----------------------------------------------------------------------------------------------


def test_a_session_starts_and_its_container_carries_who_and_what(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session = running_session(cast.actor("owner"), workspace)
    info = fake_incus.instance(session.name)
    assert info.status == "running"
    assert {key: value for key, value in info.config.items() if key.startswith("user.coi_web.")} == {
        "user.coi_web.session": str(session.public_id),
        "user.coi_web.owner": "ana",
        "user.coi_web.team": "shop",
        "user.coi_web.workspace": "ana.shop",
        "user.coi_web.profile": "default",
        "user.coi_web.mode": "ephemeral",
        "user.coi_web.made": "true",
    }
    for key, value in {
        "boot.autostart": "false", "security.guestapi": "false", "security.privileged": "false",
        "security.nesting": "true", "security.idmap.isolated": "true", "limits.memory.enforce": "soft",
    }.items():  # fmt: skip
        assert info.config[key] == value
    assert info.devices["workspace"]["source"] == workspace.volume
    assert info.devices["workspace"]["path"] == "/workspace"
    assert info.devices["eth0"]["security.mac_filtering"] == "true"
    assert words_of(session) == ["queued", "starting", "running"]
    assert session.started_at is not None


def test_slots_are_the_lowest_free_ones_and_end_at_ten(
    cast: Cast, workspace: Workspace, settings: Settings
) -> None:
    settings.COI_MAX_SESSIONS_PER_USER = 50
    actor = cast.actor("owner")
    sessions = [start_session(actor=actor, workspace=workspace)[0] for _ in range(10)]
    assert [session.slot for session in sessions] == list(range(1, 11))
    with pytest.raises(Conflict) as full:
        start_session(actor=actor, workspace=workspace)
    assert full.value.code == "no-free-slot"
    perform("kill", actor=actor, session=sessions[3])
    assert start_session(actor=actor, workspace=workspace)[0].slot == 4


def test_a_slot_can_be_chosen(cast: Cast, workspace: Workspace) -> None:
    actor = cast.actor("owner")
    assert start_session(actor=actor, workspace=workspace, slot=7)[0].slot == 7
    with pytest.raises(Conflict) as used:
        start_session(actor=actor, workspace=workspace, slot=7)
    assert used.value.code == "slot-in-use"
    assert start_session(actor=actor, workspace=workspace)[0].slot == 1


def test_the_cap_on_sessions_counts_stopped_ones(
    cast: Cast, workspace: Workspace, settings: Settings
) -> None:
    settings.COI_MAX_SESSIONS_PER_USER = 2
    actor = cast.actor("owner")
    kept = running_session(actor, workspace, mode="persistent")
    perform("stop", actor=actor, session=kept)
    run_queued()
    start_session(actor=actor, workspace=workspace)
    with pytest.raises(QuotaExceeded) as refused:
        start_session(actor=actor, workspace=workspace)
    assert refused.value.data["limit"] == refused.value.data["use"] == 2
    assert "2 of 2" in refused.value.message
    assert last_event().outcome == "refused"
    assert Session.objects.count() == 2


def test_a_form_sent_twice_makes_one_session(cast: Cast, workspace: Workspace) -> None:
    actor = cast.actor("owner")
    first, operation = start_session(actor=actor, workspace=workspace, once="abc")
    again, same = start_session(actor=actor, workspace=workspace, once="abc")
    assert (again.pk, same.pk) == (first.pk, operation.pk)
    assert start_session(actor=actor, workspace=workspace, once="abd")[0].pk != first.pk
    assert AuditEvent.objects.filter(action="session.start").count() == 2


@pytest.mark.parametrize(("arguments", "field"), [
    ({"mode": "forever"}, "mode"), ({"profile": "root"}, "profile"), ({"slot": 0}, "slot"),
    ({"slot": 11}, "slot"), ({"once": "<b>"}, "once"), ({"once": "x" * 65}, "once"),
])  # fmt: skip
def test_bad_input_names_the_field(
    cast: Cast, workspace: Workspace, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        start_session(actor=cast.actor("owner"), workspace=workspace, **arguments)
    assert refused.value.data["field"] == field
    assert not Session.objects.exists()


def test_the_database_itself_refuses_two_live_sessions_in_a_slot(cast: Cast, workspace: Workspace) -> None:
    first, _ = start_session(actor=cast.actor("owner"), workspace=workspace)
    for name in (first.name, "coi-00000000-1"):
        with pytest.raises(IntegrityError), transaction.atomic():
            Session.objects.create(
                name=name, slot=1, workspace=workspace, workspace_slug="x", owner=cast.owner, owner_name="ana",
                profile_name="default", image="x", mode="ephemeral",
            )  # fmt: skip
    for wrong in (
        {"state": "happy"},
        {"mode": "x"},
        {"slot": 11},
        {"ended_reason": "killed"},
        {"workspace": None},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Session.objects.filter(pk=first.pk).update(**wrong)


# -- who may -----------------------------------------------------------------------------------------------

_NONE: set[str] = set()
RIGHTS = {
    "owner": {"view", "operate", "own", "attach"},
    "lead": {"view", "operate"},
    "teammate": {"view"},
    "auditor": {"view"},
    "administrator": {"view", "operate"},
    "other": _NONE,
    "stranger": _NONE,
}


@pytest.mark.parametrize("who", RIGHTS)
@pytest.mark.parametrize("key", ["name", "public_id"])
def test_who_may_reach_a_session(cast: Cast, workspace: Workspace, who: str, key: str) -> None:
    session = running_session(cast.actor("owner"), workspace)
    actor = cast.actor(who)
    for right in ("view", "operate", "own", "attach"):
        if right in RIGHTS[who]:
            found = get_session_for(actor, str(getattr(session, key)), to=right)
            assert found.pk == session.pk
        else:
            refusal = Forbidden if RIGHTS[who] else NotFound
            with pytest.raises(refusal):
                get_session_for(actor, str(getattr(session, key)), to=right)
    assert sessions_visible_to(actor).exists() == bool(RIGHTS[who])
    buttons = {"owner": {"stop", "end", "kill", "attach"}, "lead": {"stop", "end", "kill"}}
    buttons["administrator"] = buttons["lead"]
    assert actions_for(actor, session) == buttons.get(who, set())


def test_not_yours_and_not_there_are_the_same(cast: Cast, workspace: Workspace) -> None:
    session = running_session(cast.actor("owner"), workspace)
    texts = []
    for key in (session.name, "coi-00000000-1", str(session.public_id), "../x", "x" * 5000, "\x00"):
        with pytest.raises(NotFound) as missing:
            get_session_for(cast.actor("stranger"), key, to="view")
        texts.append((missing.value.message, missing.value.code))
    assert len(set(texts)) == 1


@pytest.mark.parametrize("who", ["disabled", "anonymous"])
def test_who_is_not_signed_in_reaches_nothing(cast: Cast, workspace: Workspace, who: str) -> None:
    actor = Actor.of(None) if who == "anonymous" else cast.actor(who)
    session = running_session(cast.actor("owner"), workspace)
    with pytest.raises(SignedOut):
        get_session_for(actor, session.name, to="view")
    with pytest.raises(SignedOut):
        get_workspace_for(actor, workspace.slug, to="view")
    with pytest.raises(SignedOut):
        start_session(actor=actor, workspace=workspace)


@pytest.mark.parametrize(("who", "rights"), [
    ("owner", {"view", "use", "delete"}), ("teammate", {"view"}), ("lead", {"view"}), ("auditor", {"view"}),
    ("administrator", {"view", "delete"}), ("other", set()), ("stranger", set()),
])  # fmt: skip
def test_who_may_reach_a_workspace(cast: Cast, workspace: Workspace, who: str, rights: set[str]) -> None:
    actor = cast.actor(who)
    for right in ("view", "use", "delete"):
        if right in rights:
            assert get_workspace_for(actor, workspace.slug, to=right).pk == workspace.pk
        else:
            with pytest.raises(Forbidden if rights else NotFound):
                get_workspace_for(actor, str(workspace.public_id), to=right)
    assert workspaces_visible_to(actor).exists() == bool(rights)
    with pytest.raises(CoiError) if "use" not in rights else _nothing():
        start_session(actor=actor, workspace=workspace)
    assert Session.objects.exists() == ("use" in rights)


def test_the_name_leads_to_the_live_session_else_to_the_latest(cast: Cast, workspace: Workspace) -> None:
    actor = cast.actor("owner")
    found = []
    for _ in range(2):
        session = running_session(actor, workspace)
        found.append(session)
        perform("kill", actor=actor, session=session)
        run_queued()
    assert found[0].name == found[1].name
    assert get_session_for(actor, found[0].name, to="view").pk == found[1].pk
    live, _ = start_session(actor=actor, workspace=workspace)
    assert get_session_for(actor, live.name, to="view").pk == live.pk
    assert get_session_for(actor, str(found[0].public_id), to="view").pk == found[0].pk


def test_leaving_the_team_takes_the_lead_away(cast: Cast, workspace: Workspace) -> None:
    session = running_session(cast.actor("owner"), workspace)
    Membership.objects.filter(user=cast.lead).delete()
    with pytest.raises(NotFound):
        perform("kill", actor=cast.actor("lead"), session=session)
    assert last_event().outcome == "refused"
    session.refresh_from_db()
    assert session.state == "running"


def test_buttons_of_a_long_list_cost_no_query_each(
    cast: Cast, workspace: Workspace, django_assert_max_num_queries: Any, settings: Settings
) -> None:
    for _ in range(5):
        start_session(actor=cast.actor("owner"), workspace=workspace)
    rows = list(sessions_visible_to(cast.actor("lead")))
    with django_assert_max_num_queries(1):
        assert set(actions_by_session(cast.actor("lead"), rows).values()) == {frozenset({"kill"})}


# -- asking ------------------------------------------------------------------------------------------------


def test_asking_twice_is_one_operation_and_one_record(cast: Cast, workspace: Workspace) -> None:
    session = running_session(cast.actor("owner"), workspace)
    first = perform("stop", actor=cast.actor("owner"), session=session)
    assert perform("stop", actor=cast.actor("lead"), session=session).pk == first.pk
    assert AuditEvent.objects.filter(action="session.stop").count() == 1


@pytest.mark.parametrize("action", ["start-again", "stop", "end"])
def test_what_the_state_does_not_allow_is_refused_and_recorded(
    cast: Cast, workspace: Workspace, action: str
) -> None:
    session, _ = start_session(actor=cast.actor("owner"), workspace=workspace)
    with pytest.raises(Conflict) as refused:
        perform(action, actor=cast.actor("owner"), session=session)
    assert refused.value.code == "bad-state"
    assert refused.value.data["state"] == "queued"
    assert (last_event().action, last_event().outcome) == (f"session.{action}", "refused")
    session.refresh_from_db()
    assert session.desired_state == "running"


def test_only_the_known_words_can_be_asked_for(cast: Cast, workspace: Workspace) -> None:
    session = running_session(cast.actor("owner"), workspace)
    for action in ("start", "attach", "delete", "", "<b>"):
        with pytest.raises(InvalidInput):
            perform(action, actor=cast.actor("owner"), session=session)


def test_nothing_can_be_asked_of_what_is_over(cast: Cast, workspace: Workspace) -> None:
    session = running_session(cast.actor("owner"), workspace)
    perform("kill", actor=cast.actor("owner"), session=session)
    run_queued()
    for action in (Action.START_AGAIN, Action.STOP, Action.END, Action.KILL):
        with pytest.raises(Conflict):
            perform(action, actor=cast.actor("owner"), session=session)
    assert verify_chain().is_whole


def _rejected() -> Any:
    from coi_web.errors import IncusRejected

    return IncusRejected


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()
