"""Durable long-running work on the engine, one row each."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone


class Operation(models.Model):
    """queued → running → succeeded | failed | cancelled; running → queued again when its worker died.

    ``claim`` names the run that owns the row: a worker that was overtaken can write nothing any more.
    Target, owner and team are who and what it is about; their names stay as text.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    ACTIVE = (State.QUEUED, State.RUNNING)

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=40)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="requested_operations"
    )
    requester_name = models.CharField(max_length=150)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="operations"
    )
    team = models.ForeignKey("coi_accounts.Team", null=True, on_delete=models.SET_NULL, related_name="+")
    target_kind = models.CharField(max_length=32)
    target_id = models.CharField(max_length=64)
    target_name = models.CharField(max_length=200)
    parameters = models.JSONField(default=dict)
    step = models.CharField(max_length=40, blank=True)
    percent = models.PositiveSmallIntegerField(null=True)
    message = models.CharField(max_length=300, blank=True)
    result = models.JSONField(default=dict)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    claim = models.UUIDField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    dispatched_at = models.DateTimeField(default=timezone.now)
    not_before_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["target_kind", "target_id"],
                condition=models.Q(state__in=["queued", "running"]),
                name="coi_operations_one_active_per_target",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "not_before_at"]),
            models.Index(fields=["requester", "-created_at"]),
            models.Index(fields=["owner", "-created_at"]),
            models.Index(fields=["team", "-created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.target_name} ({self.state})"

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE


class Component(models.Model):
    """A process of the panel and when it was last seen alive: ``worker``, ``beat``, ``agent``."""

    name = models.CharField(max_length=32, primary_key=True)
    seen_at = models.DateTimeField()
    detail = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return f"{self.name} {self.seen_at}"
