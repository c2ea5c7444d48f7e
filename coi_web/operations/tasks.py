"""Celery's side of operations: fetch, call, return."""

from __future__ import annotations

from celery import shared_task

from coi_web.operations import recovery, runner


@shared_task(name="coi_web.operations.tasks.run_operation")
def run_operation(public_id: str) -> None:
    runner.run(public_id)


@shared_task(name="coi_web.operations.tasks.recover")
def recover() -> None:
    recovery.seen("beat")
    recovery.seen("worker")
    recovery.recover()


@shared_task(name="coi_web.operations.tasks.prune")
def prune() -> None:
    recovery.prune()
