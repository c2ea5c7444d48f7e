"""Celery's side of sessions: call and return."""

from __future__ import annotations

import structlog
from celery import shared_task

from coi_web.errors import IncusUnavailable
from sessions.reconcile import reconcile as reconcile_sessions

log = structlog.get_logger(__name__)


@shared_task(name="sessions.tasks.reconcile")
def reconcile() -> None:
    try:
        report = reconcile_sessions()
    except IncusUnavailable as error:
        log.info("reconcile-waits-for-incus", detail=error.log_detail)
        return
    if report.corrected or report.removed:
        log.info("reconciled", corrected=report.corrected, removed=report.removed)
    if report.strangers:
        log.info("strangers", containers=report.strangers)
