"""What happened outside the panel shows, and what should be gone goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from coi_web.audit.models import AuditEvent
from coi_web.errors import IncusRejected, IncusUnavailable
from coi_web.incus.fake import FakeIncus
from coi_web.incus.types import LifecycleEvent
from coi_web.live import ADMINISTRATORS, LiveEvent, object_group, team_group, user_group
from sessions import tasks, transitions
from sessions.models import Session, SessionTransition, Workspace
from sessions.reconcile import concerns_us, handle_lifecycle_event, reconcile
from sessions.services.lifecycle import perform, start_session
from tests.support.cast import Cast
from tests.support.sessions import foreign_spec, ready_workspace, run_queued, running_session


@pytest.fixture
def workspace(cast: Cast, fake_incus: FakeIncus) -> Workspace:
    return ready_workspace(cast.actor("owner"), team=cast.team)


@pytest.fixture
def session(cast: Cast, workspace: Workspace) -> Session:
    return running_session(cast.actor("owner"), workspace, mode="persistent")


def event(action: str, name: str) -> LifecycleEvent:
    return LifecycleEvent(action, name, "default", datetime.now(UTC), "root")


def force_stop(fake: FakeIncus, name: str) -> None:
    fake.stop_instance(name, force=True)


def replace_by_foreign(fake: FakeIncus, name: str) -> None:
    fake._vanish(name)
    fake.create_instance(foreign_spec(name))


#: What somebody does with the incus command, the event that says so, and the word that follows.
OUTSIDE: list[tuple[Callable[[FakeIncus, str], Any], str, str]] = [
    (force_stop, "instance-stopped", "stopped"),
    (lambda fake, name: fake.stop_instance(name), "instance-shutdown", "stopped"),
    (lambda fake, name: fake.freeze_instance(name), "instance-paused", "frozen"),
    (lambda fake, name: fake._vanish(name), "instance-deleted", "lost"),
    (replace_by_foreign, "instance-deleted", "lost"),
]


@pytest.mark.parametrize(("act", "action", "word"), OUTSIDE)
@pytest.mark.parametrize("by_event", [True, False])
def test_what_is_done_outside_shows(
    session: Session, fake_incus: FakeIncus, act: Callable[[FakeIncus, str], Any], action: str, word: str,
    by_event: bool,
) -> None:  # fmt: skip
    act(fake_incus, session.name)
    if by_event:
        handle_lifecycle_event(event(action, session.name))
    else:
        assert reconcile().corrected == 1
    session.refresh_from_db()
    assert session.state == word
    assert session.is_live == (word != "lost")
    newest = AuditEvent.objects.first()
    assert newest is not None
    assert (newest.action, newest.actor_kind) == (
        "session.lost" if word == "lost" else "session.changed-outside", "system",
    )  # fmt: skip
    if word == "lost":
        assert "files are still there" in session.ended_message
    assert reconcile().corrected == 0, "a second look changes nothing"


def test_what_comes_back_shows_too(session: Session, fake_incus: FakeIncus) -> None:
    for act, word in (
        (fake_incus.freeze_instance, "frozen"), (fake_incus.unfreeze_instance, "running"),
        (fake_incus.stop_instance, "stopped"), (fake_incus.start_instance, "running"),
    ):  # fmt: skip
        act(session.name)
        reconcile()
        session.refresh_from_db()
        assert session.state == word


def test_a_deleted_container_frees_its_slot(cast: Cast, session: Session, fake_incus: FakeIncus) -> None:
    fake_incus._vanish(session.name)
    reconcile()
    again = running_session(cast.actor("owner"), Workspace.objects.get())
    assert (again.slot, again.name) == (session.slot, session.name)


def test_nothing_changes_while_the_engine_is_away(session: Session, fake_incus: FakeIncus) -> None:
    transitions_before = SessionTransition.objects.count()
    for call in ("instances", "volumes"):
        fake_incus.behave(call, fails=IncusUnavailable)
        with pytest.raises(IncusUnavailable):
            reconcile()
        tasks.reconcile()
        fake_incus.behave_well()
    fake_incus.behave("instance", fails=IncusUnavailable)
    with pytest.raises(IncusUnavailable):
        handle_lifecycle_event(event("instance-stopped", session.name))
    session.refresh_from_db()
    assert session.state == "running"
    assert SessionTransition.objects.count() == transitions_before


def test_what_has_an_active_operation_is_left_alone(
    cast: Cast, session: Session, fake_incus: FakeIncus
) -> None:
    fake_incus.stop_instance(session.name)
    perform("kill", actor=cast.actor("owner"), session=session)
    assert reconcile().corrected == 0
    handle_lifecycle_event(event("instance-stopped", session.name))
    session.refresh_from_db()
    assert (session.state, session.observed_state) == ("stopping", "running")


def test_a_session_that_is_only_asked_for_is_not_lost(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session, _ = start_session(actor=cast.actor("owner"), workspace=workspace)
    assert reconcile().corrected == 0
    session.refresh_from_db()
    assert session.state == "queued"


def test_what_changed_while_incus_was_asked_is_left_for_the_next_look(
    cast: Cast, session: Session, fake_incus: FakeIncus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is old by the time it is used: a stop and a start happened in between."""
    original = fake_incus.instances
    fake_incus.stop_instance(session.name)

    def late(**more: Any) -> Any:
        answer = original(**more)
        monkeypatch.setattr(fake_incus, "instances", original)
        handle_lifecycle_event(event("instance-stopped", session.name))
        fresh = Session.objects.get(pk=session.pk)
        perform("start-again", actor=cast.actor("owner"), session=fresh)
        run_queued()
        return answer

    monkeypatch.setattr(fake_incus, "instances", late)
    assert reconcile().corrected == 0
    session.refresh_from_db()
    assert session.state == "running"


@pytest.mark.parametrize("reason", ["ended", "killed", "cancelled", "start-failed"])
@pytest.mark.parametrize("running", [True, False])
def test_leftovers_of_what_is_over_are_removed(
    session: Session, fake_incus: FakeIncus, reason: str, running: bool
) -> None:
    if not running:
        fake_incus.stop_instance(session.name)
    Session.objects.filter(pk=session.pk).update(
        ended_at=datetime.now(UTC), ended_reason=reason, state="ended"
    )
    assert reconcile().removed == (session.name,)
    assert fake_incus.instances() == ()
    newest = AuditEvent.objects.first()
    assert newest is not None
    assert (newest.action, newest.target_name) == ("session.leftover-removed", session.name)
    assert reconcile().removed == ()


def test_what_was_called_lost_and_is_there_again_is_never_deleted(
    cast: Cast, session: Session, fake_incus: FakeIncus
) -> None:
    """A container holds somebody's work; losing sight of it is no reason to delete it."""
    Session.objects.filter(pk=session.pk).update(
        ended_at=datetime.now(UTC), ended_reason="lost", state="lost"
    )
    report = reconcile()
    assert (report.removed, report.strangers) == ((), (session.name,))
    new, _ = start_session(actor=cast.actor("owner"), workspace=Workspace.objects.get())
    assert new.name == session.name
    run_queued()
    new.refresh_from_db()
    assert new.ended_reason == "name-taken"
    key = fake_incus.instance(session.name).config["user.coi_web.session"]
    assert key == str(session.public_id)


@pytest.mark.parametrize("key", ["0d3c8a52-7f0e-4f0f-a6d1-2b8f5b1c9e10", "not-a-uuid", "' OR 1=1"])
def test_strangers_with_our_key_are_reported_and_left_alone(
    session: Session, fake_incus: FakeIncus, key: str
) -> None:
    fake_incus.create_instance(foreign_spec("stranger", **{"user.coi_web.session": key}))
    fake_incus.create_instance(foreign_spec("coi-00000000-1"))
    report = reconcile()
    assert (report.strangers, report.removed, report.corrected) == (("stranger",), (), 0)
    assert len(fake_incus.instances()) == 3


def test_a_copy_of_a_container_is_not_the_session(session: Session, fake_incus: FakeIncus) -> None:
    """``incus copy`` keeps our keys; the copy has another name."""
    fake_incus.create_instance(foreign_spec("copy", **{"user.coi_web.session": str(session.public_id)}))
    report = reconcile()
    assert (report.strangers, report.removed) == (("copy",), ())


def test_a_leftover_that_cannot_be_removed_does_not_stop_the_rest(
    cast: Cast, session: Session, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    other = running_session(cast.actor("owner"), workspace)
    fake_incus.stop_instance(other.name)
    Session.objects.filter(pk=session.pk).update(
        ended_at=datetime.now(UTC), ended_reason="killed", state="ended"
    )
    fake_incus.behave("delete_instance", fails=IncusRejected)
    report = reconcile()
    assert (report.removed, report.corrected) == ((), 1)
    fake_incus.behave_well()
    assert reconcile().removed == (session.name,)


def test_a_volume_deleted_outside_is_shown_and_refused_for_starts(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    volume = fake_incus._volumes.pop(("coi-web", workspace.volume))
    handle_lifecycle_event(event("storage-volume-deleted", workspace.volume))
    workspace.refresh_from_db()
    assert workspace.state == "lost"
    fake_incus._volumes["coi-web", workspace.volume] = volume
    assert reconcile().corrected == 1
    workspace.refresh_from_db()
    assert workspace.state == "ready"


def test_a_missing_pool_does_not_lose_all_workspaces(workspace: Workspace, fake_incus: FakeIncus) -> None:
    fake_incus._pools.clear()
    assert reconcile().corrected == 0
    workspace.refresh_from_db()
    assert workspace.state == "ready"


def test_only_events_that_matter_cost_a_look(session: Session, fake_incus: FakeIncus) -> None:
    before = len(fake_incus.calls)
    for action in ("instance-exec", "instance-updated", "image-created", "instance-file-retrieved"):
        assert not concerns_us(event(action, session.name))
        handle_lifecycle_event(event(action, session.name))
    handle_lifecycle_event(event("instance-stopped", "somebody-elses"))
    assert len(fake_incus.calls) == before


def test_hints_reach_everybody_who_sees_it_and_the_open_terminals(
    cast: Cast, session: Session, fake_incus: FakeIncus, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[set[str], LiveEvent]] = []
    monkeypatch.setattr(
        transitions, "publish_on_commit", lambda groups, hint: sent.append((set(groups), hint))
    )
    fake_incus.stop_instance(session.name)
    reconcile()
    extra = {"name": session.name, "state": "stopped"}
    changed, stopped = sent
    assert changed[0] >= {ADMINISTRATORS, user_group(cast.owner.pk), team_group(cast.team.pk)}
    assert changed[1] == LiveEvent("session.changed", str(session.public_id), extra)
    assert stopped == (
        {object_group("session", session.public_id)},
        LiveEvent("session.stopped", str(session.public_id), extra),
    )
