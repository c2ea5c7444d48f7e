"""The agent: follows events, looks at everything after each reconnect, ends at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from channels.db import database_sync_to_async
from django.db import OperationalError

from coi_web.errors import IncusUnavailable
from coi_web.incus.fake import FakeIncus
from coi_web.incus.types import LifecycleEvent
from coi_web.operations.models import Component
from monitoring import runner
from monitoring.runner import Agent
from monitoring.worker import MOST_PENDING, LookingThread


def event(name: str, action: str = "instance-stopped") -> LifecycleEvent:
    return LifecycleEvent(action, name, "default", datetime.now(UTC), "root")


class Eyes:
    """Stands in for what the thread looks with."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.failures: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()

    def look(self, one: LifecycleEvent) -> None:
        self._see(one.name)

    def look_at_everything(self) -> None:
        self._see("*")

    def _see(self, what: str) -> None:
        self.gate.wait(10)
        self.seen.append(what)
        if self.failures:
            raise self.failures.pop()


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@pytest.fixture
def eyes() -> Eyes:
    return Eyes()


@pytest.fixture
def looking(eyes: Eyes) -> LookingThread:
    return LookingThread(look=eyes.look, look_at_everything=eyes.look_at_everything, retry_after_s=0.02)


def test_one_look_per_name_however_many_events(eyes: Eyes, looking: LookingThread) -> None:
    for _ in range(50):
        looking.submit(event("a"))
        looking.submit(event("b"))
    looking.start()
    eventually(lambda: len(eyes.seen) == 2, f"saw {eyes.seen}")
    assert looking.stop(5)
    assert eyes.seen == ["a", "b"]


def test_a_storm_becomes_one_look_at_everything(eyes: Eyes, looking: LookingThread) -> None:
    for number in range(MOST_PENDING * 5):
        looking.submit(event(f"c{number}"))
    looking.start()
    eventually(lambda: eyes.seen, "nothing seen")
    assert looking.stop(5)
    assert eyes.seen == ["*"]


@pytest.mark.parametrize("error", [IncusUnavailable("Away."), OperationalError("database is locked")])
def test_what_failed_is_looked_at_again(eyes: Eyes, looking: LookingThread, error: Exception) -> None:
    eyes.failures = [error]
    looking.submit(event("a"))
    looking.start()
    eventually(lambda: eyes.seen == ["a", "*"], f"saw {eyes.seen}")
    assert looking.stop(5)


def test_it_ends_in_the_middle_of_waiting_for_the_engine(eyes: Eyes) -> None:
    looking = LookingThread(look=eyes.look, look_at_everything=eyes.look_at_everything, retry_after_s=600)
    eyes.failures = [IncusUnavailable("Away.")]
    looking.submit_everything()
    looking.start()
    eventually(lambda: eyes.seen, "nothing seen")
    assert looking.stop(5)


async def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.005)


@pytest.mark.django_db(transaction=True)
async def test_the_agent_looks_at_everything_first_and_then_at_what_happens(
    fake_incus: FakeIncus, eyes: Eyes, looking: LookingThread
) -> None:
    agent = Agent(looking=looking)
    running = asyncio.create_task(agent.run())
    await wait_until(lambda: eyes.seen == ["*"], f"saw {eyes.seen}")
    fake_incus.emit("instance-exec", "a")
    fake_incus.emit("instance-stopped", "b")
    await wait_until(lambda: eyes.seen == ["*", "b"], f"saw {eyes.seen}")
    assert agent.detail == "following Incus"
    agent.stop()
    await asyncio.wait_for(running, 2)
    component = await database_sync_to_async(Component.objects.get)(name="agent")
    assert (datetime.now(UTC) - component.seen_at).total_seconds() < 10


@pytest.mark.django_db(transaction=True)
async def test_after_each_reconnect_it_looks_at_everything_again(
    fake_incus: FakeIncus, eyes: Eyes, looking: LookingThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BACKOFF_S", (0.01,))
    fake_incus.behave("events", fails=IncusUnavailable, times=3)
    agent = Agent(looking=looking)
    running = asyncio.create_task(agent.run())
    await wait_until(lambda: eyes.seen == ["*"], f"saw {eyes.seen}")
    fake_incus.drop_connections()
    await wait_until(lambda: eyes.seen == ["*", "*"], f"saw {eyes.seen}")
    fake_incus.emit("instance-stopped", "a")
    await wait_until(lambda: eyes.seen == ["*", "*", "a"], f"saw {eyes.seen}")
    agent.stop()
    await asyncio.wait_for(running, 2)


@pytest.mark.django_db(transaction=True)
async def test_it_ends_within_two_seconds_even_while_a_look_hangs(
    fake_incus: FakeIncus, eyes: Eyes, looking: LookingThread
) -> None:
    eyes.gate.clear()
    agent = Agent(looking=looking)
    running = asyncio.create_task(agent.run())
    await wait_until(lambda: agent.detail == "following Incus", "never connected")
    began = time.monotonic()
    agent.stop()
    await asyncio.wait_for(running, 5)
    assert time.monotonic() - began < 2.0
    eyes.gate.set()


def test_the_delays_between_attempts_begin_short_and_stay_short() -> None:
    assert runner.BACKOFF_S[0] <= 0.5
    assert max(runner.BACKOFF_S) <= 5
    assert list(runner.BACKOFF_S) == sorted(runner.BACKOFF_S)
