"""Operations survive: double delivery, dead and overtaken workers, a silent engine, a broken broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from coi_web.audit.models import AuditEvent
from coi_web.audit.services import Target
from coi_web.errors import Conflict, DiskFull, Forbidden, IncusUnavailable, NotFound
from coi_web.operations import recovery, registry, runner
from coi_web.operations.models import Component, Operation
from coi_web.operations.queries import get_operation_for, running_operations_count
from coi_web.operations.registry import register_handler, title_of
from coi_web.operations.runner import OperationContext
from coi_web.operations.services import create_operation, request_cancel
from tests.support.cast import Cast

State = Operation.State
Work = Callable[[OperationContext], dict[str, Any]]


def _nothing(context: OperationContext) -> dict[str, Any]:
    return {}


@dataclass
class Bench:
    """A kind of operation whose work each test chooses; keeps how often it ran and what it settled as."""

    cast: Cast
    work: Work = _nothing
    runs: int = 0
    settled: list[str] = field(default_factory=list)

    def run(self, context: OperationContext) -> dict[str, Any]:
        self.runs += 1
        return self.work(context)

    def settle(self, operation: Operation) -> None:
        self.settled.append(operation.state)

    def create(self, target: str = "t1", kind: str = "test.work", **more: Any) -> Operation:
        operation, _ = create_operation(
            actor=self.cast.actor("owner"),
            kind=kind,
            target=Target("thing", target, f"thing {target}"),
            owner=self.cast.owner,
            team=self.cast.team,
            **more,
        )
        return operation

    def after_run(self, operation: Operation) -> Operation:
        runner.run(str(operation.public_id))
        operation.refresh_from_db()
        return operation


@pytest.fixture
def bench(cast: Cast) -> Iterator[Bench]:
    bench = Bench(cast)
    for kind in ("test.work", "test.other"):
        register_handler(kind, title="Work on {target}", run=bench.run, settle=bench.settle)
    yield bench
    for kind in ("test.work", "test.other"):
        registry._handlers.pop(kind, None)


def _age(operation: Operation, **ages_s: float) -> None:
    """Move moments of the row into the past."""
    now = timezone.now()
    moments = {name: now - timedelta(seconds=age) for name, age in ages_s.items()}
    Operation.objects.filter(pk=operation.pk).update(**moments)


def _die(context: OperationContext) -> dict[str, Any]:
    """As a killed worker: nothing is written any more."""
    raise runner.Overtaken


class TestCreating:
    def test_one_active_operation_per_target(self, bench: Bench) -> None:
        first = bench.create()
        again, is_new = create_operation(
            actor=bench.cast.actor("lead"), kind="test.work", target=Target("thing", "t1", "x"), owner=None
        )
        assert (again.pk, is_new) == (first.pk, False)
        with pytest.raises(Conflict) as refused:
            bench.create(kind="test.other")
        assert (refused.value.code, refused.value.data) == ("busy", {"operation": str(first.public_id)})
        assert "Work on thing t1" in refused.value.message
        bench.create("t2")
        bench.after_run(first)
        assert bench.create(kind="test.other").state == State.QUEUED

    def test_an_unknown_kind_is_a_programming_error(self, bench: Bench) -> None:
        with pytest.raises(KeyError):
            bench.create(kind="no.such")

    def test_it_is_sent_when_the_change_is_committed(
        self, bench: Bench, django_capture_on_commit_callbacks: Any
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            operation = bench.create()
            assert bench.runs == 0
        operation.refresh_from_db()
        assert (operation.state, bench.runs) == (State.SUCCEEDED, 1)

    def test_nothing_is_left_where_the_change_is_undone(
        self, bench: Bench, django_capture_on_commit_callbacks: Any
    ) -> None:
        with (
            django_capture_on_commit_callbacks(execute=True) as callbacks,
            pytest.raises(RuntimeError),
            transaction.atomic(),
        ):
            bench.create()
            raise RuntimeError
        assert (callbacks, bench.runs, Operation.objects.count()) == ([], 0, 0)


class TestRunning:
    def test_the_outcome_is_written_once(self, bench: Bench) -> None:
        bench.work = lambda context: {"answer": 42, "given": context.parameters["given"]}
        operation = bench.after_run(bench.create(parameters={"given": "x"}))
        assert (operation.state, operation.percent, operation.attempts) == (State.SUCCEEDED, 100, 1)
        assert operation.result == {"answer": 42, "given": "x"}
        assert operation.finished_at is not None
        bench.after_run(operation)
        assert (bench.runs, bench.settled) == (1, ["succeeded"]), "delivered twice it ran once"

    def test_a_second_worker_finds_it_taken(self, bench: Bench) -> None:
        operation = bench.create()

        def deliver_again(context: OperationContext) -> dict[str, Any]:
            runner.run(str(operation.public_id))
            return {}

        bench.work = deliver_again
        assert bench.after_run(operation).state == State.SUCCEEDED
        assert bench.runs == 1

    def test_it_is_not_run_before_its_time(self, bench: Bench) -> None:
        operation = bench.create()
        _age(operation, not_before_at=-60)
        assert bench.after_run(operation).state == State.QUEUED
        runner.run("00000000-0000-0000-0000-000000000000")
        assert bench.runs == 0

    @pytest.mark.parametrize(
        ("error", "code", "message"),
        [
            (
                DiskFull("The disk is full. Delete something.", log_detail="secret"),
                "disk-full",
                "The disk is full.",
            ),
            (RuntimeError("secret"), "internal-error", "did not expect"),
        ],
    )
    def test_failures(self, bench: Bench, error: Exception, code: str, message: str) -> None:
        def fail(context: OperationContext) -> dict[str, Any]:
            raise error

        bench.work = fail
        operation = bench.after_run(bench.create())
        assert (operation.state, operation.error_code) == (State.FAILED, code)
        assert message in operation.error_message
        assert "secret" not in operation.error_message
        assert bench.settled == ["failed"]

    def test_what_settle_writes_and_the_outcome_hold_together(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A settle that breaks on success leaves no half: the operation fails, settled as failed."""
        states: list[str] = []

        def settle(operation: Operation) -> None:
            states.append(operation.state)
            if operation.state == State.SUCCEEDED:
                raise RuntimeError("settling")

        register_handler("test.work", title="Work on {target}", run=_nothing, settle=settle)
        operation = bench.after_run(bench.create())
        assert (operation.state, operation.error_code) == (State.FAILED, "internal-error")
        assert states == ["succeeded", "failed"]

    def test_a_kind_of_another_version_fails_and_blocks_nothing(self, bench: Bench) -> None:
        operation = bench.create()
        Operation.objects.filter(pk=operation.pk).update(kind="gone.kind")
        assert bench.after_run(operation).state == State.FAILED
        assert operation.error_code == "unknown-kind"
        assert title_of("gone.kind", "x") == "gone.kind x"


class TestProgress:
    def test_it_is_written_by_step_and_at_most_twice_a_second(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [100.0]
        monkeypatch.setattr("coi_web.operations.runner.time.monotonic", lambda: clock[0])
        seen: list[tuple[str, int | None]] = []
        operation = bench.create()

        def work(context: OperationContext) -> dict[str, Any]:
            def look() -> None:
                row = Operation.objects.get(pk=operation.pk)
                seen.append((row.step, row.percent))

            for percent in range(0, 100, 10):
                context.progress("copy", percent, "Copying")
                clock[0] += 0.125
                look()
            context.progress("check", None, "x" * 1000)
            look()
            return {}

        bench.work = work
        bench.after_run(operation)
        assert seen[:10] == [("copy", 0)] * 4 + [("copy", 40)] * 4 + [("copy", 80)] * 2
        assert seen[10] == ("check", None), "a new step is written at once"
        operation.refresh_from_db()
        assert len(operation.message) == 300

    def test_cancelling_stops_at_the_next_safe_point(self, bench: Bench) -> None:
        operation = bench.create()
        reached: list[str] = []

        def work(context: OperationContext) -> dict[str, Any]:
            context.progress("one")
            request_cancel(actor=bench.cast.actor("owner"), operation=operation)
            reached.append("asked")
            context.progress("two")
            reached.append("went on")
            return {}

        bench.work = work
        assert bench.after_run(operation).state == State.CANCELLED
        assert reached == ["asked"]
        assert bench.settled == ["cancelled"]

    def test_an_overtaken_worker_writes_nothing_more(self, bench: Bench) -> None:
        """Its heart stopped for a while, another worker took over and finished: the first comes back."""
        operation = bench.create()
        went_on: list[str] = []

        def first(context: OperationContext) -> dict[str, Any]:
            _age(operation, heartbeat_at=60)
            assert recovery.recover() == 1
            bench.work = lambda context: {"by": "second"}
            runner.run(str(operation.public_id))
            context.progress("late", 10, "from the first")
            went_on.append("after progress")
            return {"by": "first"}

        bench.work = first
        bench.after_run(operation)
        assert (operation.state, operation.result, operation.attempts) == (
            State.SUCCEEDED,
            {"by": "second"},
            2,
        )
        assert (went_on, operation.message) == ([], "Interrupted; beginning again.")
        assert bench.settled == ["succeeded"]

    def test_an_overtaken_worker_that_only_returns_ends_nothing(self, bench: Bench) -> None:
        operation = bench.create()

        def first(context: OperationContext) -> dict[str, Any]:
            _age(operation, heartbeat_at=60)
            recovery.recover()
            return {"by": "first"}

        bench.work = first
        bench.after_run(operation)
        assert (operation.state, operation.result, bench.settled) == (State.QUEUED, {}, [])


class TestCancelling:
    def test_what_nobody_began_ends_at_once(self, bench: Bench) -> None:
        operation = bench.create()
        request_cancel(actor=bench.cast.actor("administrator"), operation=operation)
        operation.refresh_from_db()
        assert (operation.state, bench.settled) == (State.CANCELLED, ["cancelled"])
        request_cancel(actor=bench.cast.actor("owner"), operation=operation)
        assert AuditEvent.objects.filter(action="operation.cancel").count() == 1, "safe to repeat"
        assert bench.after_run(operation).state == State.CANCELLED
        assert bench.runs == 0

    def test_who_may(self, bench: Bench) -> None:
        operation = bench.create()
        for who in ("teammate", "lead", "auditor"):
            assert get_operation_for(bench.cast.actor(who), operation.public_id)
            with pytest.raises(Forbidden):
                request_cancel(actor=bench.cast.actor(who), operation=operation)
        for who in ("other", "stranger"):
            with pytest.raises(NotFound):
                get_operation_for(bench.cast.actor(who), operation.public_id)
        refused = AuditEvent.objects.filter(action="operation.cancel", outcome="refused")
        assert list(refused.order_by("sequence").values_list("actor_name", flat=True)) == [
            "ben",
            "lea",
            "otto",
        ]
        operation.refresh_from_db()
        assert operation.cancel_requested_at is None
        counts = [
            running_operations_count(bench.cast.actor(who)) for who in ("owner", "teammate", "administrator")
        ]
        assert counts == [1, 0, 0]


class TestRecovery:
    def test_work_of_a_dead_worker_begins_again(
        self, bench: Bench, django_capture_on_commit_callbacks: Any
    ) -> None:
        bench.work = _die
        operation = bench.after_run(bench.create())
        assert operation.state == State.RUNNING
        assert recovery.recover() == 0, "its heart beat a moment ago"
        _age(operation, heartbeat_at=11)
        bench.work = _nothing
        with django_capture_on_commit_callbacks(execute=True):
            assert recovery.recover() == 1
        operation.refresh_from_db()
        assert (operation.state, operation.attempts) == (State.SUCCEEDED, 2)

    def test_what_kills_its_worker_every_time_is_given_up(self, bench: Bench) -> None:
        bench.work = _die
        operation = bench.create()
        for _ in range(recovery.MOST_CRASHES):
            bench.after_run(operation)
            _age(operation, heartbeat_at=11)
            recovery.recover()
        operation.refresh_from_db()
        assert (operation.state, operation.error_code, bench.runs) == (State.FAILED, "interrupted", 5)
        assert bench.settled == ["failed"]

    def test_a_row_that_cannot_be_settled_does_not_hold_up_the_others(self, bench: Bench) -> None:
        def broken(operation: Operation) -> None:
            raise RuntimeError("settling")

        bench.work = _die
        register_handler("test.other", title="Other {target}", run=bench.run, settle=broken)
        bad, good = (
            bench.after_run(bench.create("bad", kind="test.other")),
            bench.after_run(bench.create("good")),
        )
        for operation in (bad, good):
            _age(operation, heartbeat_at=11)
        Operation.objects.filter(pk=bad.pk).update(attempts=recovery.MOST_CRASHES)
        assert recovery.recover() == 2
        bad.refresh_from_db()
        good.refresh_from_db()
        assert (bad.state, good.state) == (State.FAILED, State.QUEUED)

    def test_a_broken_broker_leaves_it_queued_and_it_is_sent_again(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
    ) -> None:
        sent: list[str] = []

        def refuse(public_id: str) -> None:
            raise ConnectionError("no broker")

        monkeypatch.setattr("coi_web.operations.tasks.run_operation.delay", refuse)
        with django_capture_on_commit_callbacks(execute=True):
            operation = bench.create()
        operation.refresh_from_db()
        assert operation.state == State.QUEUED
        monkeypatch.setattr("coi_web.operations.tasks.run_operation.delay", sent.append)
        assert recovery.recover() == 0, "a worker may still come for it"
        _age(operation, dispatched_at=9)
        for _ in range(2):
            with django_capture_on_commit_callbacks(execute=True):
                recovery.recover()
        assert sent == [str(operation.public_id)], "once, not at every sweep"

    def test_old_ones_are_pruned_and_active_ones_kept(self, bench: Bench) -> None:
        old, active = bench.after_run(bench.create("old")), bench.create("active")
        _age(old, finished_at=91 * 86400)
        _age(active, created_at=91 * 86400)
        assert recovery.prune() == 1
        assert Operation.objects.get().pk == active.pk

    def test_processes_are_seen(self, db: None) -> None:
        recovery.seen("worker")
        recovery.seen("worker", "again")
        assert Component.objects.get().detail == "again"


class TestEngineAway:
    def test_it_waits_then_goes_on(self, bench: Bench, django_capture_on_commit_callbacks: Any) -> None:
        def away(context: OperationContext) -> dict[str, Any]:
            raise IncusUnavailable("Incus does not answer. Start it.")

        bench.work = away
        operation = bench.after_run(bench.create())
        assert (operation.state, operation.claim, bench.settled) == (State.QUEUED, None, [])
        assert operation.not_before_at > timezone.now()
        assert recovery.recover() == 0, "not due yet"
        _age(operation, not_before_at=0, dispatched_at=4)
        bench.work = _nothing
        with django_capture_on_commit_callbacks(execute=True):
            assert recovery.recover() == 1
        operation.refresh_from_db()
        assert (operation.state, operation.attempts) == (State.SUCCEEDED, 2)

    def test_it_fails_when_patience_is_over(self, bench: Bench) -> None:
        def away(context: OperationContext) -> dict[str, Any]:
            raise IncusUnavailable("Incus does not answer. Start it.")

        bench.work = away
        operation = bench.create()
        _age(operation, created_at=91)
        assert bench.after_run(operation).state == State.FAILED
        assert (operation.error_code, operation.error_message) == (
            "incus-unavailable", "Incus does not answer. Start it.",
        )  # fmt: skip
        assert bench.settled == ["failed"]

    def test_it_can_be_cancelled_while_it_waits(self, bench: Bench) -> None:
        def away(context: OperationContext) -> dict[str, Any]:
            raise IncusUnavailable("Incus does not answer.")

        bench.work = away
        operation = bench.after_run(bench.create())
        request_cancel(actor=bench.cast.actor("owner"), operation=operation)
        _age(operation, not_before_at=0)
        assert bench.after_run(operation).state == State.CANCELLED
        assert bench.runs == 1
