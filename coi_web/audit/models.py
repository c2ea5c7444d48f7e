"""The append-only log of who did what, chained by HMAC."""

from __future__ import annotations

from django.db import models


class AuditEvent(models.Model):
    """One action.  Names are text and ids plain numbers: the row outlives everything that it names.

    Rows are written by ``coi_web.audit.services.record`` only; the database refuses UPDATE and DELETE.
    """

    class Outcome(models.TextChoices):
        OK = "ok"
        REFUSED = "refused"
        FAILED = "failed"

    sequence = models.BigIntegerField(unique=True)
    at = models.DateTimeField()
    action = models.CharField(max_length=64)
    outcome = models.CharField(max_length=8, choices=Outcome.choices)
    actor_kind = models.CharField(max_length=16)
    actor_id = models.BigIntegerField(null=True)
    actor_name = models.CharField(max_length=150)
    team_id = models.BigIntegerField(null=True)
    team_name = models.CharField(max_length=100, blank=True)
    target_kind = models.CharField(max_length=32, blank=True)
    target_id = models.CharField(max_length=64, blank=True)
    target_name = models.CharField(max_length=200, blank=True)
    ip = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    data = models.JSONField(default=dict)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["-sequence"]
        indexes = [
            models.Index(fields=["team_id", "-sequence"]),
            models.Index(fields=["actor_id", "-sequence"]),
            models.Index(fields=["action", "-sequence"]),
            models.Index(fields=["target_kind", "target_id", "-sequence"]),
            models.Index(fields=["-at"]),
        ]

    def __str__(self) -> str:
        return f"{self.sequence} {self.actor_name} {self.action} {self.target_name}"


class AuditHead(models.Model):
    """The end of the chain; its one row (pk 1) is the lock that puts writers in order."""

    sequence = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64, default="0" * 64)

    def __str__(self) -> str:
        return f"head {self.sequence}"
