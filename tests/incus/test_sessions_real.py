"""Sessions on real Incus: what the words do to real containers, real quotas, and real events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from channels.db import database_sync_to_async
from django.conf import settings as django_settings
from pytest_django import Settings

from coi_web.incus import set_backend_for_tests
from coi_web.incus.streams import IncusEventStreams
from coi_web.incus.types import ExecResult, InstanceStatus
from coi_web.operations import runner
from coi_web.operations.models import Operation
from coi_web.operations.tasks import run_operation
from monitoring.runner import Agent
from sessions import containers, profiles
from sessions.models import Session, Workspace
from sessions.profiles import Limits, Profile
from sessions.reconcile import reconcile
from sessions.services.lifecycle import perform, start_session
from sessions.services.workspaces import create_workspace, delete_workspace
from sessions.work import starting
from tests.support.cast import Cast, make_cast
from tests.support.incus_lab import IMAGE, IncusLab
from tests.support.sessions import MIB, ready_workspace, run_queued, running_session

CODE = 1000


@pytest.fixture(autouse=True)
def engine(lab: IncusLab, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.COI_INCUS_POOL = settings.COI_INCUS_NETWORK = lab.name
    settings.COI_DEFAULT_IMAGE = IMAGE
    monkeypatch.setattr(run_operation, "delay", lambda public_id: None)
    set_backend_for_tests(lab.api, IncusEventStreams(lab.config))
    lab.empty()
    yield
    lab.empty()
    set_backend_for_tests(None, None)


@pytest.fixture
def workspace(cast: Cast) -> Workspace:
    return ready_workspace(cast.actor("owner"), team=cast.team)


def inside(lab: IncusLab, session: Session, script: str, *, user: int = CODE) -> ExecResult:
    return lab.api.run(session.name, ["sh", "-c", script], user=user)


def ask(cast: Cast, session: Session, action: str) -> Operation:
    operation = perform(action, actor=cast.actor("owner"), session=session)
    run_queued()
    session.refresh_from_db()
    operation.refresh_from_db()
    return operation


def test_files_outlive_containers_and_are_shared_by_slots(
    cast: Cast, lab: IncusLab, workspace: Workspace
) -> None:
    first = running_session(cast.actor("owner"), workspace)
    assert first.operation is not None
    assert first.operation.result["hardening"] == "full"
    written = inside(
        lab, first, "cd /workspace && id -u && echo kept > file && mkdir folder && stat -c %u file"
    )
    assert (written.exit_code, written.stdout) == (0, b"1000\n1000\n"), written.stderr
    second = running_session(cast.actor("owner"), workspace)
    assert (first.slot, second.slot) == (1, 2)
    assert (
        inside(lab, second, "echo more >> /workspace/file && cat /workspace/file").stdout == b"kept\nmore\n"
    )
    maps = {inside(lab, session, "cat /proc/self/uid_map").stdout for session in (first, second)}
    assert len(maps) == 2, "each container has an id range of its own"
    ask(cast, first, "end")
    ask(cast, second, "kill")
    assert (first.state, second.state) == ("ended", "ended")
    assert lab.api.instances() == ()
    third = running_session(cast.actor("owner"), workspace)
    assert inside(lab, third, "cat /workspace/file").stdout == b"kept\nmore\n"
    ask(cast, third, "kill")
    delete_workspace(actor=cast.actor("owner"), workspace=workspace)
    run_queued()
    assert lab.api.volumes(lab.name) == ()


def test_the_size_of_a_workspace_holds(cast: Cast, lab: IncusLab) -> None:
    workspace = ready_workspace(cast.actor("owner"), size_bytes=32 * MIB)
    session = running_session(cast.actor("owner"), workspace)
    full = inside(lab, session, "dd if=/dev/urandom of=/workspace/big bs=1M count=64")
    assert full.exit_code != 0
    assert b"quota" in full.stderr.lower() or b"space" in full.stderr.lower()
    ask(cast, session, "end")
    assert session.state == "ended"


def test_limits_reach_the_container(cast: Cast, lab: IncusLab, workspace: Workspace) -> None:
    session = running_session(cast.actor("owner"), workspace)
    info = lab.api.instance(session.name)
    for key, value in containers.policy_of(profiles.profile_named("default")).items():
        assert info.config.get(key, "") == value, key
    assert info.devices["root"]["size"] == "20GiB"
    ask(cast, session, "kill")


def test_a_persistent_session_keeps_what_was_installed(
    cast: Cast, lab: IncusLab, workspace: Workspace
) -> None:
    session = running_session(cast.actor("owner"), workspace, mode="persistent")
    inside(lab, session, "echo installed > /opt-thing", user=0)
    ask(cast, session, "end")
    assert (session.state, lab.api.instance(session.name).status) == ("stopped", InstanceStatus.STOPPED)
    ask(cast, session, "start-again")
    assert session.state == "running"
    assert inside(lab, session, "cat /opt-thing").stdout == b"installed\n"
    lab.api.freeze_instance(session.name)
    reconcile()
    session.refresh_from_db()
    assert session.state == "frozen"
    ask(cast, session, "stop")
    assert session.state == "stopped"
    ask(cast, session, "kill")
    assert lab.api.instances() == ()


def test_without_the_image_nothing_is_left(
    cast: Cast, lab: IncusLab, workspace: Workspace, settings: Settings
) -> None:
    settings.COI_DEFAULT_IMAGE = "coi-missing"
    session, operation = start_session(actor=cast.actor("owner"), workspace=workspace)
    run_queued()
    operation.refresh_from_db()
    session.refresh_from_db()
    assert (operation.error_code, session.state) == ("image-missing", "failed")
    assert "coi-missing" in operation.error_message
    assert lab.api.instances() == ()


def test_a_full_container_says_so_and_can_be_killed(
    cast: Cast, lab: IncusLab, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Profile("default", "Small", "", IMAGE, Limits(disk="24MiB"))
    for module in (profiles, containers, starting):
        if hasattr(module, "profile_named"):
            monkeypatch.setattr(module, "profile_named", lambda name: small)
    session = running_session(cast.actor("owner"), workspace, mode="persistent")
    assert inside(lab, session, "dd if=/dev/urandom of=/big bs=64k count=1000", user=0).exit_code != 0
    ask(cast, session, "stop")
    assert session.state == "stopped"
    operation = ask(cast, session, "start-again")
    assert (operation.state, operation.error_code) == ("failed", "disk-full"), operation.error_message
    assert f"disk of {session.name} is full" in operation.error_message
    assert session.state == "stopped"
    assert ask(cast, session, "kill").state == "succeeded"
    assert lab.api.instances() == ()


def test_a_half_made_container_of_a_dead_worker_gives_way(
    cast: Cast, lab: IncusLab, workspace: Workspace
) -> None:
    session, _ = start_session(actor=cast.actor("owner"), workspace=workspace)
    spec = containers.spec_of(session, workspace)
    lab.api.create_instance(replace(spec, config={**spec.config, "user.test": "half"}))
    run_queued()
    session.refresh_from_db()
    assert session.state == "running"
    info = lab.api.instance(session.name)
    assert "user.test" not in info.config
    assert info.config[containers.MADE_KEY] == "true"
    ask(cast, session, "kill")


def test_what_somebody_else_made_under_the_name_is_left_alone(
    cast: Cast, lab: IncusLab, workspace: Workspace
) -> None:
    session, operation = start_session(actor=cast.actor("owner"), workspace=workspace)
    spec = containers.spec_of(session, workspace)
    lab.api.create_instance(replace(spec, config={}))
    run_queued()
    operation.refresh_from_db()
    assert operation.error_code == "name-taken"
    assert running_session(cast.actor("owner"), workspace).slot == 2
    assert [info.name for info in lab.api.instances() if not info.config.get(containers.SESSION_KEY)] == [
        session.name
    ]


async def shows(check: Callable[[], str], word: str) -> float:
    """Seconds until the database says ``word``."""
    began = time.monotonic()
    while (seen := await database_sync_to_async(check)()) != word:
        assert time.monotonic() - began < 10, f"still {seen}, not {word}"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.django_db(transaction=True)
async def test_what_is_done_with_incus_shows_within_a_second(lab: IncusLab, transactional_db: None) -> None:
    cast = await database_sync_to_async(make_cast)()

    def begin() -> Session:
        actor = cast.actor("owner")
        return running_session(actor, ready_workspace(actor), mode="persistent")

    def state() -> str:
        return Session.objects.get(pk=session.pk).state

    agent = Agent()
    running = asyncio.create_task(agent.run())
    try:
        session = await database_sync_to_async(begin)()
        for arguments, word in (
            (("pause", session.name), "frozen"),
            (("resume", session.name), "running"),
            (("stop", "--force", session.name), "stopped"),
            (("start", session.name), "running"),
            (("delete", "--force", session.name), "lost"),
        ):
            process = await asyncio.create_subprocess_exec("incus", "--project", lab.name, *arguments)
            assert await process.wait() == 0
            assert await shows(state, word) < 1.0, word
    finally:
        agent.stop()
        began = time.monotonic()
        await running
        assert time.monotonic() - began < 2.0


def test_a_start_costs_little_more_than_incus_itself(cast: Cast, lab: IncusLab, workspace: Workspace) -> None:
    """From the claim to the end of the operation, against creating and starting the same by hand."""
    own, ours = [], []
    for _ in range(3):
        session, operation = start_session(actor=cast.actor("owner"), workspace=workspace)
        began = time.monotonic()
        runner.run(str(operation.public_id))
        ours.append(time.monotonic() - began)
        spec = containers.spec_of(session, workspace)
        ask(cast, session, "kill")
        began = time.monotonic()
        lab.api.create_instance(replace(spec, name="by-hand"))
        lab.api.start_instance("by-hand")
        own.append(time.monotonic() - began)
        containers.remove(lab.api, "by-hand", {})
    assert min(ours) <= 2 * min(own), f"operation {ours}, by hand {own}"


def test_a_new_workspace_can_be_used_at_once(cast: Cast, lab: IncusLab) -> None:
    workspace, _ = create_workspace(actor=cast.actor("owner"), name="quick", size_bytes=32 * MIB)
    session, start = start_session(actor=cast.actor("owner"), workspace=workspace)
    runner.run(str(start.public_id))
    session.refresh_from_db()
    assert session.state == "running", session.ended_message
    run_queued()
    workspace.refresh_from_db()
    assert workspace.state == "ready"
    assert [volume.name for volume in lab.api.volumes(django_settings.COI_INCUS_POOL)] == [workspace.volume]
