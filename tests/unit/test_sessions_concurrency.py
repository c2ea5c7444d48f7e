"""Many at once, with real threads and real locks: slots, caps and ends are exact."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from coi_web.audit.services import verify_chain
from coi_web.errors import CoiError
from coi_web.incus.fake import FakeIncus
from coi_web.operations import runner
from coi_web.operations.models import Operation
from coi_web.operations.tasks import run_operation
from sessions.models import Session, Workspace
from sessions.reconcile import reconcile
from sessions.services.lifecycle import perform, start_session
from sessions.services.workspaces import create_workspace, delete_workspace
from tests.support.cast import Cast, make_cast
from tests.support.sessions import ready_workspace, run_queued, running_session

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_runs_by_itself(monkeypatch: pytest.MonkeyPatch, fake_incus: FakeIncus) -> None:
    """Operations stay queued until the test runs them."""
    monkeypatch.setattr(run_operation, "delay", lambda public_id: None)


@pytest.fixture
def people(transactional_db: None) -> Cast:
    return make_cast()


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run all at the same moment; results in order, a CoiError's code in place of the result."""
    results: list[Any] = [None] * len(calls)
    ready = threading.Barrier(len(calls))

    def run(number: int) -> None:
        try:
            ready.wait(timeout=20)
            results[number] = calls[number]()
        except CoiError as error:
            results[number] = error.code
        except BaseException as error:
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a thread hangs"
    assert not [result for result in results if isinstance(result, BaseException)], results
    return results


def codes(results: list[Any]) -> Counter[str]:
    return Counter(result if isinstance(result, str) else "ok" for result in results)


def test_twenty_starts_share_ten_slots(people: Cast, settings: Settings) -> None:
    settings.COI_MAX_SESSIONS_PER_USER = 50
    actor = people.actor("owner")
    workspace = ready_workspace(actor)
    results = together([lambda: start_session(actor=actor, workspace=workspace)] * 20)
    assert codes(results) == {"ok": 10, "no-free-slot": 10}
    assert sorted(Session.objects.values_list("slot", flat=True)) == list(range(1, 11))
    assert Operation.objects.filter(kind="session.start").count() == 10
    assert verify_chain().is_whole


def test_the_cap_is_exact_over_several_workspaces(people: Cast, settings: Settings) -> None:
    settings.COI_MAX_SESSIONS_PER_USER = 5
    actor = people.actor("owner")
    workspaces = [ready_workspace(actor, name) for name in ("one", "two", "three")]

    def start(workspace: Workspace) -> Callable[[], Any]:
        return lambda: start_session(actor=actor, workspace=workspace)

    results = together([start(workspace) for workspace in workspaces for _ in range(5)])
    assert codes(results) == {"ok": 5, "quota-exceeded": 10}
    assert Session.objects.count() == 5


def test_one_form_sent_by_many_clicks_is_one_session(people: Cast) -> None:
    actor = people.actor("owner")
    workspace = ready_workspace(actor)
    results = together([lambda: start_session(actor=actor, workspace=workspace, once="click")] * 8)
    assert len({session.pk for session, _ in results}) == 1
    assert Session.objects.count() == 1


def test_one_workspace_asked_for_many_times_is_one(people: Cast) -> None:
    actor = people.actor("owner")
    results = together([lambda: create_workspace(actor=actor, name="shop")] * 8)
    assert len({(workspace.pk, operation.pk) for workspace, operation in results}) == 1
    assert Workspace.objects.count() == Operation.objects.count() == 1


def test_a_workspace_is_deleted_or_used_but_never_both(people: Cast, fake_incus: FakeIncus) -> None:
    actor = people.actor("owner")
    for number in range(6):
        workspace = ready_workspace(actor, f"shop-{number}")

        def start(workspace: Workspace = workspace) -> Any:
            return start_session(actor=actor, workspace=workspace)

        def delete(workspace: Workspace = workspace) -> Any:
            return delete_workspace(actor=actor, workspace=workspace)

        outcome = codes(together([start, delete]))
        assert outcome in ({"ok": 1, "workspace-in-use": 1}, {"ok": 1, "workspace-deleting": 1})
    run_queued()
    used = set(Session.objects.filter(ended_at=None).values_list("workspace__volume", flat=True))
    assert {volume.name for volume in fake_incus.volumes("coi-web")} == used


def test_two_workers_with_the_same_message_run_it_once(people: Cast, fake_incus: FakeIncus) -> None:
    actor = people.actor("owner")
    session, operation = start_session(actor=actor, workspace=ready_workspace(actor))
    together([lambda: runner.run(str(operation.public_id))] * 4)
    session.refresh_from_db()
    assert session.state == "running"
    assert [call for call, _ in fake_incus.calls].count("create_instance") == 1


def test_different_wishes_at_once_are_one_operation(people: Cast, fake_incus: FakeIncus) -> None:
    actor = people.actor("owner")
    session = running_session(actor, ready_workspace(actor))

    def ask(action: str) -> Callable[[], Any]:
        return lambda: perform(action, actor=actor, session=session)

    results = together([ask(action) for action in ("stop", "end", "stop", "end")])
    assert codes(results)["ok"] == 2
    assert Operation.objects.filter(state="queued").count() == 1
    run_queued()
    session.refresh_from_db()
    assert session.state in ("stopped", "ended")


@pytest.mark.parametrize("beginning", ["start", "stop"])
def test_a_kill_at_any_moment_wins_in_the_end(people: Cast, fake_incus: FakeIncus, beginning: str) -> None:
    """The kill meets the operation queued, running or just finished; three threads want the row at once."""
    actor = people.actor("owner")
    workspace = ready_workspace(actor)
    for round_number in range(8):
        if beginning == "start":
            session, operation = start_session(actor=actor, workspace=workspace)
        else:
            session = running_session(actor, workspace)
            operation = perform("stop", actor=actor, session=session)
        for call in ("create_instance", "start_instance", "stop_instance"):
            fake_incus.behave(call, slow_s=0.01 * round_number)

        def run(operation: Operation = operation) -> None:
            runner.run(str(operation.public_id))

        def kill(session: Session = session) -> None:
            perform("kill", actor=actor, session=session)

        results = together([run, kill, reconcile])
        assert set(codes(results)) == {"ok"}, results
        fake_incus.behave_well()
        run_queued()
        session.refresh_from_db()
        assert (session.state, session.is_live) == ("ended", False), (round_number, session.ended_reason)
        reconcile()
        assert fake_incus.instances() == ()
    assert verify_chain().is_whole
