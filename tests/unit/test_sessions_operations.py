"""The work on the engine: what it does when all is well, and when the engine misbehaves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from coi_web.audit.models import AuditEvent
from coi_web.errors import (
    DiskFull,
    IncusConflict,
    IncusError,
    IncusNotFound,
    IncusRejected,
    IncusTimedOut,
    IncusUnavailable,
)
from coi_web.incus.fake import FakeIncus
from coi_web.incus.types import ExecResult, InstanceStatus
from coi_web.operations import runner
from coi_web.operations.models import Operation
from coi_web.operations.services import request_cancel
from sessions.models import Session, Workspace
from sessions.services.lifecycle import perform, start_session
from sessions.services.workspaces import create_workspace
from sessions.work import ending, starting, steps
from tests.support.cast import Cast
from tests.support.sessions import foreign_spec, ready_workspace, run_queued, running_session, words_of


@pytest.fixture
def workspace(cast: Cast, fake_incus: FakeIncus) -> Workspace:
    return ready_workspace(cast.actor("owner"), team=cast.team)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "BUSY_FOR_S", 0.2)
    monkeypatch.setattr(starting, "_POLL_S", 0.01)
    monkeypatch.setattr(steps, "TICK_S", 0.02)


def ask(cast: Cast, session: Session, action: str) -> Operation:
    """Ask for it, run it to its end, look at both again."""
    operation = perform(action, actor=cast.actor("owner"), session=session)
    run_queued()
    session.refresh_from_db()
    operation.refresh_from_db()
    return operation


def failed_start(cast: Cast, workspace: Workspace) -> tuple[Session, Operation]:
    session, operation = start_session(actor=cast.actor("owner"), workspace=workspace)
    run_queued()
    session.refresh_from_db()
    operation.refresh_from_db()
    assert operation.state == "failed", operation.state
    return session, operation


# -- what the words mean -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ephemeral", "persistent"])
def test_stop_keeps_the_container_and_it_starts_again(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, mode: str
) -> None:
    session = running_session(cast.actor("owner"), workspace, mode=mode)
    assert ask(cast, session, "stop").state == "succeeded"
    assert (session.state, session.is_live) == ("stopped", True)
    assert fake_incus.instance(session.name).status == "stopped"
    fake_incus.update_config(session.name, {"security.privileged": "true", "limits.memory": None})
    assert ask(cast, session, "start-again").state == "succeeded"
    assert session.state == "running"
    info = fake_incus.instance(session.name)
    assert info.status == "running"
    assert (info.config["security.privileged"], info.config["limits.memory"]) == ("false", "4GiB")


def test_end_deletes_an_ephemeral_container_and_keeps_its_files(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session = running_session(cast.actor("owner"), workspace)
    ask(cast, session, "end")
    assert (session.state, session.ended_reason, session.is_live) == ("ended", "ended", False)
    assert fake_incus.instances() == ()
    assert [volume.name for volume in fake_incus.volumes("coi-web")] == [workspace.volume]
    assert ("stop_instance", session.name) in fake_incus.calls


def test_end_keeps_a_persistent_container_stopped(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session = running_session(cast.actor("owner"), workspace, mode="persistent")
    ask(cast, session, "end")
    assert (session.state, session.is_live) == ("stopped", True)
    assert fake_incus.instance(session.name).status == "stopped"


@pytest.mark.parametrize("mode", ["ephemeral", "persistent"])
@pytest.mark.parametrize("before", ["running", "frozen", "stopped"])
def test_kill_deletes_at_once_from_any_state(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, mode: str, before: str
) -> None:
    session = running_session(cast.actor("owner"), workspace, mode=mode)
    if before == "frozen":
        fake_incus.freeze_instance(session.name)
    if before == "stopped":
        ask(cast, session, "stop")
    ask(cast, session, "kill")
    assert (session.state, session.ended_reason) == ("ended", "killed")
    assert fake_incus.instances() == ()


@pytest.mark.parametrize("action", ["stop", "end"])
def test_what_was_frozen_does_not_run_again_to_be_stopped(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, action: str
) -> None:
    session = running_session(cast.actor("owner"), workspace, mode="persistent")
    fake_incus.freeze_instance(session.name)
    ask(cast, session, action)
    assert session.state == "stopped"
    assert "unfreeze_instance" not in [call for call, _ in fake_incus.calls]


def test_an_init_that_does_not_listen_is_stopped_by_force(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session = running_session(cast.actor("owner"), workspace)
    fake_incus.behave("stop_instance", never=True, times=1)
    assert ask(cast, session, "stop").state == "succeeded"
    assert session.state == "stopped"
    assert [call for call, _ in fake_incus.calls].count("stop_instance") == 2


# -- starting goes wrong -----------------------------------------------------------------------------------


def test_without_the_image_the_error_names_it_and_says_what_to_do(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    fake_incus._images.clear()
    session, operation = failed_start(cast, workspace)
    assert operation.error_code == "image-missing"
    assert "coi-default" in operation.error_message
    assert "./coi-web doctor" in operation.error_message
    assert "./coi-web up" in operation.error_message
    assert (session.state, session.ended_reason, session.ended_message) == (
        "failed", "start-failed", operation.error_message,
    )  # fmt: skip
    assert fake_incus.instances() == ()


def test_without_the_volume_the_error_says_so(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    fake_incus.delete_volume("coi-web", workspace.volume)
    _, operation = failed_start(cast, workspace)
    assert operation.error_code == "workspace-lost"


@pytest.mark.parametrize("call", ["create_instance", "update_config", "start_instance"])
@pytest.mark.parametrize(("error", "late", "code"), [
    (IncusRejected, False, "incus-rejected"), (DiskFull, False, "disk-full"), (IncusTimedOut, True, None),
    (IncusRejected, True, "incus-rejected"),
])  # fmt: skip
def test_a_start_that_fails_leaves_nothing_and_the_slot_is_free(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus,
    call: str, error: type[IncusError], late: bool, code: str | None,
) -> None:  # fmt: skip
    fake_incus.behave(call, fails=error, fails_late=late)
    session, operation = failed_start(cast, workspace)
    assert operation.error_code == code or code is None
    assert operation.error_message
    assert (session.state, session.is_live) == ("failed", False)
    assert fake_incus.instances() == ()
    assert AuditEvent.objects.filter(action="session.start", outcome="failed").count() == 1
    fake_incus.behave_well()
    assert running_session(cast.actor("owner"), workspace).slot == session.slot


def test_a_full_pool_has_its_own_advice(cast: Cast, workspace: Workspace, fake_incus: FakeIncus) -> None:
    fake_incus.behave("create_instance", fails=DiskFull)
    _, operation = failed_start(cast, workspace)
    assert "storage pool is full" in operation.error_message
    assert "Delete" in operation.error_message


@pytest.mark.parametrize("call", ["update_config", "start_instance", "instance"])
def test_a_container_that_vanishes_during_the_start(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, call: str
) -> None:
    fake_incus.behave(call, vanishes=True, times=1)
    session, operation = failed_start(cast, workspace)
    assert operation.error_code == "container-gone"
    assert session.state == "failed"
    assert fake_incus.instances() == ()


def test_a_container_that_dies_at_once_is_not_called_running(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_incus, "start_instance", lambda name, **more: None)
    session, operation = failed_start(cast, workspace)
    assert operation.error_code == "stopped-at-once"
    assert session.name in operation.error_message
    assert fake_incus.instances() == ()


def test_a_kernel_without_hardening_starts_without_it(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    fake_incus.behave("start_instance", fails=IncusRejected, times=1)
    session = running_session(cast.actor("owner"), workspace)
    info = fake_incus.instance(session.name)
    assert "security.idmap.isolated" not in info.config
    assert "security.mac_filtering" not in info.devices["eth0"]
    assert session.operation is not None
    assert session.operation.result["hardening"] == "reduced"


def test_a_busy_container_is_waited_for(cast: Cast, workspace: Workspace, fake_incus: FakeIncus) -> None:
    fake_incus.behave("start_instance", fails=IncusConflict("Busy.", code="busy"), times=3)
    running_session(cast.actor("owner"), workspace)
    assert [call for call, _ in fake_incus.calls].count("start_instance") == 4


def test_a_foreign_container_of_that_name_is_left_alone_and_the_next_start_takes_another_slot(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session, _ = start_session(actor=cast.actor("owner"), workspace=workspace)
    fake_incus.create_instance(foreign_spec(session.name))
    (operation,) = run_queued()
    assert (operation.error_code, operation.state) == ("name-taken", "failed")
    assert "another slot" in operation.error_message
    session.refresh_from_db()
    assert (session.state, session.ended_reason) == ("failed", "name-taken")
    assert len(fake_incus.instances()) == 1
    assert running_session(cast.actor("owner"), workspace).slot == 2
    assert fake_incus.instance(session.name).config.get("user.coi_web.session") is None


def test_a_leftover_of_an_ended_session_gives_way(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    old = running_session(cast.actor("owner"), workspace)
    ask(cast, old, "kill")
    fake_incus.create_instance(foreign_spec(old.name, **{"user.coi_web.session": str(old.public_id)}))
    new = running_session(cast.actor("owner"), workspace)
    assert new.name == old.name
    assert fake_incus.instance(new.name).config["user.coi_web.session"] == str(new.public_id)


# -- the engine is away ------------------------------------------------------------------------------------


def test_a_start_waits_for_an_engine_that_is_away_and_goes_on(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session, operation = start_session(actor=cast.actor("owner"), workspace=workspace)
    fake_incus.behave("start_instance", fails=IncusUnavailable, times=1)
    runner.run(str(operation.public_id))
    operation.refresh_from_db()
    session.refresh_from_db()
    assert (operation.state, session.state) == ("queued", "starting")
    assert len(fake_incus.instances()) == 1, "what was made is kept for the next attempt"
    Operation.objects.update(not_before_at=timezone.now())
    run_queued()
    session.refresh_from_db()
    assert session.state == "running"


def test_an_engine_that_stays_away_ends_the_start_with_a_clear_error(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session, operation = start_session(actor=cast.actor("owner"), workspace=workspace)
    Operation.objects.filter(pk=operation.pk).update(created_at=timezone.now() - timedelta(minutes=5))
    fake_incus.behave("create_instance", fails=IncusUnavailable)
    run_queued()
    session.refresh_from_db()
    operation.refresh_from_db()
    assert (operation.error_code, session.state) == ("incus-unavailable", "failed")


# -- cancelling --------------------------------------------------------------------------------------------


def cancel_during(monkeypatch: pytest.MonkeyPatch, fake: FakeIncus, call: str, act: Any) -> None:
    """Do ``act`` right after the first ``call`` has happened."""
    original = getattr(fake, call)
    done: list[bool] = []

    def stand_in(*args: Any, **more: Any) -> Any:
        result = original(*args, **more)
        if not done:
            done.append(True)
            act()
        return result

    monkeypatch.setattr(fake, call, stand_in)


@pytest.mark.parametrize("call", ["create_instance", "start_instance"])
def test_a_cancelled_start_is_undone(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    session, operation = start_session(actor=cast.actor("owner"), workspace=workspace)
    cancel_during(
        monkeypatch, fake_incus, call,
        lambda: request_cancel(actor=cast.actor("owner"), operation=Operation.objects.get(pk=operation.pk)),
    )  # fmt: skip
    run_queued()
    session.refresh_from_db()
    operation.refresh_from_db()
    assert (operation.state, session.state, session.ended_reason) == ("cancelled", "ended", "cancelled")
    assert fake_incus.instances() == ()


def test_a_start_cancelled_before_it_began_never_meets_the_engine(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session, operation = start_session(actor=cast.actor("owner"), workspace=workspace)
    calls = len(fake_incus.calls)
    request_cancel(actor=cast.actor("owner"), operation=operation)
    session.refresh_from_db()
    assert (session.state, session.ended_reason) == ("ended", "cancelled")
    assert len(fake_incus.calls) == calls


def test_kill_during_a_start_cancels_it_and_nothing_stays(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, operation = start_session(actor=cast.actor("owner"), workspace=workspace)
    cancel_during(
        monkeypatch, fake_incus, "create_instance",
        lambda: perform("kill", actor=cast.actor("lead"), session=session),
    )  # fmt: skip
    run_queued()
    session.refresh_from_db()
    operation.refresh_from_db()
    assert (operation.state, session.state, session.ended_reason) == ("cancelled", "ended", "killed")
    assert fake_incus.instances() == ()
    assert AuditEvent.objects.get(action="session.kill").actor_name == "lea"


def test_kill_that_comes_too_late_to_cancel_follows_the_start(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, start = start_session(actor=cast.actor("owner"), workspace=workspace)
    finish = runner.finish

    def late(*args: Any, **more: Any) -> bool:
        monkeypatch.setattr(runner, "finish", finish)
        perform("kill", actor=cast.actor("lead"), session=session)
        return finish(*args, **more)

    monkeypatch.setattr(runner, "finish", late)
    run_queued()
    session.refresh_from_db()
    start.refresh_from_db()
    assert start.state == "succeeded"
    assert (session.state, session.ended_reason) == ("ended", "killed")
    assert fake_incus.instances() == ()
    kill = Operation.objects.get(kind="session.kill")
    assert (kill.requester, kill.state) == (cast.lead, "succeeded")


@pytest.mark.parametrize("action", ["stop", "end"])
def test_kill_does_not_wait_for_a_slow_shutdown(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    session = running_session(cast.actor("owner"), workspace, mode="persistent")
    waiting = perform(action, actor=cast.actor("owner"), session=session)
    asked: list[Operation] = []
    write = runner.OperationContext.progress

    def progress(self: Any, step: str, percent: int | None = None, message: str = "") -> None:
        write(self, step, percent, message)
        if not asked and "of 60 s" in message:
            asked.append(perform("kill", actor=cast.actor("owner"), session=session))

    fake_incus.behave("stop_instance", slow_s=30, times=1)
    monkeypatch.setattr(runner.OperationContext, "progress", progress)
    run_queued()
    session.refresh_from_db()
    waiting.refresh_from_db()
    assert asked[0].pk == waiting.pk, "the operation to watch is the one that is being cancelled"
    assert waiting.state == "cancelled"
    assert (session.state, session.ended_reason) == ("ended", "killed")
    assert fake_incus.instances() == ()


def test_a_cancelled_stop_leaves_the_session_running(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session = running_session(cast.actor("owner"), workspace)
    operation = perform("stop", actor=cast.actor("owner"), session=session)
    request_cancel(actor=cast.actor("owner"), operation=operation)
    session.refresh_from_db()
    assert (session.state, session.desired_state) == ("running", "running")
    assert fake_incus.instance(session.name).status == "running"


# -- ending goes wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "call"), [
    ("stop", "stop_instance"), ("end", "delete_instance"), ("kill", "delete_instance"), ("kill", "stop_instance"),
])  # fmt: skip
def test_what_could_not_be_done_is_shown_and_can_be_asked_again(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, action: str, call: str
) -> None:
    session = running_session(cast.actor("owner"), workspace)
    fake_incus.behave(call, fails=IncusRejected)
    operation = ask(cast, session, action)
    assert (operation.state, operation.error_code) == ("failed", "incus-rejected")
    assert session.is_live
    assert session.state == fake_incus.instance(session.name).status
    assert session.kill_requested_at is None
    fake_incus.behave_well()
    assert ask(cast, session, "kill").state == "succeeded"
    assert session.state == "ended"


@pytest.mark.parametrize(("action", "word"), [("stop", "lost"), ("end", "ended"), ("kill", "ended")])
def test_a_container_that_somebody_deleted_meanwhile(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, action: str, word: str
) -> None:
    session = running_session(cast.actor("owner"), workspace)
    perform(action, actor=cast.actor("owner"), session=session)
    fake_incus._vanish(session.name)
    run_queued()
    session.refresh_from_db()
    assert (session.state, session.is_live) == (word, False)


def test_starting_again_what_was_deleted_says_so(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session = running_session(cast.actor("owner"), workspace, mode="persistent")
    ask(cast, session, "stop")
    fake_incus.delete_instance(session.name)
    assert ask(cast, session, "start-again").error_code == "container-gone"
    assert session.state == "lost"


def test_a_full_container_disk_has_its_own_advice(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session = running_session(cast.actor("owner"), workspace, mode="persistent")
    ask(cast, session, "stop")
    fake_incus.behave("update_config", fails=DiskFull)
    operation = ask(cast, session, "start-again")
    assert operation.error_code == "disk-full"
    assert f"disk of {session.name} is full" in operation.error_message
    assert (session.state, session.desired_state) == ("stopped", "stopped")


def test_killing_never_touches_a_container_that_is_not_ours(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session = running_session(cast.actor("owner"), workspace)
    fake_incus._vanish(session.name)
    fake_incus.create_instance(foreign_spec(session.name))
    fake_incus.start_instance(session.name)
    ask(cast, session, "kill")
    assert session.state == "ended"
    assert fake_incus.instance(session.name).status is InstanceStatus.RUNNING


# -- workspaces --------------------------------------------------------------------------------------------


def test_a_session_can_start_on_a_workspace_that_is_still_being_made(
    cast: Cast, fake_incus: FakeIncus
) -> None:
    workspace, making = create_workspace(actor=cast.actor("owner"), name="shop")
    _, start = start_session(actor=cast.actor("owner"), workspace=workspace)
    for operation in (start, making):
        runner.run(str(operation.public_id))
        operation.refresh_from_db()
        assert operation.state == "succeeded", operation.error_message
    workspace.refresh_from_db()
    assert workspace.state == "ready"
    assert len(fake_incus.volumes("coi-web")) == 1


def test_a_cancelled_workspace_is_forgotten(cast: Cast, fake_incus: FakeIncus) -> None:
    _, operation = create_workspace(actor=cast.actor("owner"), name="shop")
    request_cancel(actor=cast.actor("owner"), operation=operation)
    assert not Workspace.objects.exists()
    assert fake_incus.volumes("coi-web") == ()


def test_a_foreign_volume_is_left_alone(cast: Cast, fake_incus: FakeIncus) -> None:
    workspace, operation = create_workspace(actor=cast.actor("owner"), name="shop")
    fake_incus.create_volume("coi-web", workspace.volume)
    run_queued()
    operation.refresh_from_db()
    assert operation.error_code == "name-taken"
    assert len(fake_incus.volumes("coi-web")) == 1


def test_progress_says_the_step_in_words(cast: Cast, workspace: Workspace, fake_incus: FakeIncus) -> None:
    seen: list[tuple[str, int | None]] = []
    session, operation = start_session(actor=cast.actor("owner"), workspace=workspace)
    write = runner.OperationContext.progress

    def note(self: Any, step: str, percent: int | None = None, message: str = "") -> None:
        seen.append((message, percent))
        write(self, step, percent, message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner.OperationContext, "progress", note)
        run_queued()
    assert [message for message, _ in seen] == [
        "Unpacking the image coi-default", "Starting the container", "Waiting until it has booted", "Running",
    ]  # fmt: skip
    percents = [percent for _, percent in seen]
    assert percents == sorted(percents, key=lambda value: value or 0)
    operation.refresh_from_db()
    assert operation.percent == 100
    assert words_of(session) == ["queued", "starting", "running"]


def test_coi_gives_a_shutdown_sixty_seconds() -> None:
    assert ending.SHUTDOWN_GRACE_S == 60


def test_errors_of_the_engine_that_mean_nothing_is_there_end_quietly(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    session = running_session(cast.actor("owner"), workspace)
    fake_incus.behave("delete_instance", fails=IncusNotFound)
    assert ask(cast, session, "kill").state == "succeeded"


def test_a_start_waits_until_systemd_has_set_the_system_up(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus
) -> None:
    answers = [75, 75, 0]
    fake_incus.commands["sh"] = lambda command, stdin: ExecResult(answers.pop(0), b"", b"", False)
    session, _ = start_session(actor=cast.actor("owner"), workspace=workspace)
    run_queued()
    session.refresh_from_db()
    assert (session.state, answers) == ("running", [])


@pytest.mark.parametrize("trouble", ["for ever", "refuses"])
def test_a_container_that_does_not_say_it_has_booted_is_handed_over(
    cast: Cast, workspace: Workspace, fake_incus: FakeIncus, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(starting, "READY_TIMEOUT_S", 0.1)
    fake_incus.commands["sh"] = lambda command, stdin: ExecResult(75, b"", b"", False)
    if trouble == "refuses":
        fake_incus.behave("run", fails=IncusRejected("no"))
    session, _ = start_session(actor=cast.actor("owner"), workspace=workspace)
    run_queued()
    session.refresh_from_db()
    assert session.state == "running"
