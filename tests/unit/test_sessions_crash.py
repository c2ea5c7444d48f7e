"""Killing the worker anywhere: the next run goes on or begins again, and nothing is left over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from coi_web.incus.fake import FakeIncus
from coi_web.operations import recovery, runner
from coi_web.operations.models import Operation
from sessions.models import Session, Workspace
from sessions.reconcile import reconcile
from sessions.services.lifecycle import perform, start_session
from sessions.services.workspaces import create_workspace, delete_workspace
from tests.support.cast import Cast
from tests.support.sessions import ready_workspace, run_queued, running_session

CHANGES = frozenset(
    {
        "create_instance", "start_instance", "stop_instance", "delete_instance", "update_config",
        "create_volume", "delete_volume", "instance", "volume", "image",
    }
)  # fmt: skip


class Killed(BaseException):
    """As sudden as kill -9: nothing catches it, nothing is tidied up."""


class DyingIncus(FakeIncus):
    """Kills the worker at one call, before it or after it has happened; counts the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.die_at = -1
        self.after = False
        self.count = 0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in CHANGES:
            return found

        def call(*args: Any, **more: Any) -> Any:
            mine = self.count
            self.count += 1
            if mine == self.die_at and not self.after:
                raise Killed
            result = found(*args, **more)
            if mine == self.die_at:
                raise Killed
            return result

        return call


@pytest.fixture
def dying(fake_incus: FakeIncus) -> DyingIncus:
    from coi_web.incus import set_backend_for_tests

    fake = DyingIncus()
    set_backend_for_tests(fake, fake)
    return fake


def run_until_killed(operation: Operation) -> bool:
    """True where the worker died; its heartbeat is then as old as that of a dead worker."""
    try:
        runner.run(str(operation.public_id))
    except Killed:
        Operation.objects.filter(pk=operation.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=1))
        return True
    return False


def crash_everywhere(
    dying: DyingIncus, begin: Callable[[], Operation], check: Callable[[Operation], None]
) -> int:
    """``begin`` asks for it anew each time; returns at how many points the worker was killed."""
    points = 0
    for after in (False, True):
        for point in range(100):
            operation = begin()
            dying.count, dying.die_at, dying.after = 0, point, after
            died = run_until_killed(operation)
            dying.die_at = -1
            operation.refresh_from_db()
            assert (operation.state == "running") == died
            recovery.recover()
            run_queued()
            operation.refresh_from_db()
            check(operation)
            if not died:
                break
            points += 1
        else:
            raise AssertionError("the operation never came to an end")
    return points


def no_leftovers(dying: DyingIncus) -> None:
    """What Incus has is exactly what the database says, and another look changes nothing."""
    report = reconcile()
    assert (report.corrected, report.removed, report.strangers) == (0, (), ())
    live = Session.objects.filter(ended_at=None)
    assert sorted(info.name for info in dying.instances()) == sorted(live.values_list("name", flat=True))
    assert {volume.name for volume in dying.volumes("coi-web")} == set(
        Workspace.objects.values_list("volume", flat=True)
    )


def test_a_start_survives_a_crash_at_every_step(cast: Cast, dying: DyingIncus) -> None:
    actor = cast.actor("owner")
    workspace = ready_workspace(actor)

    def begin() -> Operation:
        for session in Session.objects.filter(ended_at=None):
            perform("kill", actor=actor, session=session)
        run_queued()
        return start_session(actor=actor, workspace=workspace)[1]

    def check(operation: Operation) -> None:
        assert operation.state == "succeeded", operation.error_message
        (session,) = Session.objects.filter(ended_at=None)
        assert session.state == "running"
        assert dying.instance(session.name).status == "running"
        assert session.transitions.filter(to_state="running").count() == 1
        no_leftovers(dying)

    assert crash_everywhere(dying, begin, check) >= 10


def test_a_start_on_a_new_workspace_survives_too(cast: Cast, dying: DyingIncus) -> None:
    actor = cast.actor("owner")

    def begin() -> Operation:
        for session in Session.objects.filter(ended_at=None):
            perform("kill", actor=actor, session=session)
        run_queued()
        for workspace in Workspace.objects.all():
            delete_workspace(actor=actor, workspace=workspace)
        run_queued()
        workspace, making = create_workspace(actor=actor, name="shop")
        Operation.objects.filter(pk=making.pk).update(
            state="failed", finished_at=timezone.now(), dispatched_at=timezone.now()
        )
        return start_session(actor=actor, workspace=workspace)[1]

    def check(operation: Operation) -> None:
        assert operation.state == "succeeded", operation.error_message
        assert Workspace.objects.get().state == "ready"
        no_leftovers(dying)

    assert crash_everywhere(dying, begin, check) >= 12


@pytest.mark.parametrize(("action", "state", "mode"), [
    ("stop", "stopped", "ephemeral"), ("end", "ended", "ephemeral"), ("end", "stopped", "persistent"),
    ("kill", "ended", "persistent"),
])  # fmt: skip
def test_ending_survives_a_crash_at_every_step(
    cast: Cast, dying: DyingIncus, action: str, state: str, mode: str
) -> None:
    actor = cast.actor("owner")
    workspace = ready_workspace(actor)
    current: list[Session] = []

    def begin() -> Operation:
        for session in Session.objects.filter(ended_at=None):
            perform("kill", actor=actor, session=session)
        run_queued()
        current[:] = [running_session(actor, workspace, mode=mode)]
        return perform(action, actor=actor, session=current[0])

    def check(operation: Operation) -> None:
        assert operation.state == "succeeded", operation.error_message
        current[0].refresh_from_db()
        assert current[0].state == state
        no_leftovers(dying)

    assert crash_everywhere(dying, begin, check) >= 4


def test_starting_again_survives_a_crash_at_every_step(cast: Cast, dying: DyingIncus) -> None:
    actor = cast.actor("owner")
    session = running_session(actor, ready_workspace(actor), mode="persistent")

    def begin() -> Operation:
        perform("stop", actor=actor, session=session)
        run_queued()
        session.refresh_from_db()
        return perform("start-again", actor=actor, session=session)

    def check(operation: Operation) -> None:
        assert operation.state == "succeeded", operation.error_message
        session.refresh_from_db()
        assert session.state == "running"
        no_leftovers(dying)

    assert crash_everywhere(dying, begin, check) >= 6


def test_workspaces_survive_a_crash_at_every_step(cast: Cast, dying: DyingIncus) -> None:
    actor = cast.actor("owner")

    def create() -> Operation:
        for workspace in Workspace.objects.all():
            delete_workspace(actor=actor, workspace=workspace)
        run_queued()
        return create_workspace(actor=actor, name="shop")[1]

    def delete() -> Operation:
        return delete_workspace(actor=actor, workspace=ready_workspace(actor, "shop"))

    def check(operation: Operation) -> None:
        assert operation.state == "succeeded", operation.error_message
        no_leftovers(dying)

    assert crash_everywhere(dying, create, check) >= 2
    for workspace in Workspace.objects.all():
        delete_workspace(actor=actor, workspace=workspace)
    run_queued()
    assert crash_everywhere(dying, delete, check) >= 4


def test_a_worker_that_dies_every_time_ends_in_a_failed_session_and_an_empty_engine(
    cast: Cast, dying: DyingIncus
) -> None:
    actor = cast.actor("owner")
    session, operation = start_session(actor=actor, workspace=ready_workspace(actor))
    for _ in range(recovery.MOST_CRASHES):
        dying.count, dying.die_at, dying.after = 0, 1, True
        assert run_until_killed(operation)
        dying.die_at = -1
        recovery.recover()
    operation.refresh_from_db()
    session.refresh_from_db()
    assert (operation.state, operation.error_code, session.state) == ("failed", "interrupted", "failed")
    assert len(dying.instances()) == 1
    assert reconcile().removed == (session.name,)
    no_leftovers(dying)


def test_a_worker_that_was_overtaken_undoes_nothing(
    cast: Cast, fake_incus: FakeIncus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped for a minute and awake again, it must not delete what its successor made."""
    actor = cast.actor("owner")
    session, operation = start_session(actor=actor, workspace=ready_workspace(actor))
    original = fake_incus.create_instance
    overtaken: list[bool] = []

    def slow(*args: Any, **more: Any) -> None:
        if overtaken:
            original(*args, **more)
            return
        overtaken.append(True)
        Operation.objects.filter(pk=operation.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=1))
        recovery.recover()
        runner.run(str(operation.public_id))
        original(*args, **more)

    monkeypatch.setattr(fake_incus, "create_instance", slow)
    runner.run(str(operation.public_id))
    session.refresh_from_db()
    operation.refresh_from_db()
    assert (operation.state, operation.attempts, session.state) == ("succeeded", 2, "running")
    assert fake_incus.instance(session.name).status == "running"
