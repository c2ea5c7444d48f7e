"""Workspaces and sessions.  Names stand beside every reference as text: history outlives its subjects."""

from __future__ import annotations

import uuid
from enum import StrEnum

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from coi_web.audit.services import Target
from sessions.names import SLOTS, identity_of
from sessions.states import Action, Desired, EndReason, Mode, Observed, State


def _values(words: type[StrEnum]) -> list[str]:
    """Plain texts, so that migrations need no import of ours."""
    return [word.value for word in words]


class WorkspaceState(models.TextChoices):
    CREATING = "creating"
    READY = "ready"
    DELETING = "deleting"
    #: Creating or deleting did not work; both can be asked for again.
    FAILED = "failed"
    #: Its volume was deleted outside the panel.
    LOST = "lost"


class Workspace(models.Model):
    """Files that outlive containers: an Incus volume, mounted at ``/workspace`` of every session on it.

    The row goes when its volume is gone.  ``operation`` is the newest one.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="workspaces")
    owner_name = models.CharField(max_length=32)
    team = models.ForeignKey("coi_accounts.Team", null=True, on_delete=models.SET_NULL, related_name="+")
    team_name = models.CharField(max_length=100, blank=True)
    name = models.CharField(max_length=31)
    slug = models.CharField(max_length=64, unique=True)
    size_bytes = models.PositiveBigIntegerField()
    volume = models.CharField(max_length=100, unique=True)
    state = models.CharField(
        max_length=10, choices=WorkspaceState.choices, default=WorkspaceState.CREATING, db_index=True
    )
    operation = models.ForeignKey(
        "coi_operations.Operation", null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "name"], name="coi_sessions_workspace_name_once"),
            models.CheckConstraint(
                condition=Q(state__in=WorkspaceState.values), name="coi_sessions_workspace_state_known"
            ),
        ]

    def __str__(self) -> str:
        return self.slug

    @property
    def identity(self) -> str:
        """What COI's container names are made from."""
        return identity_of(self.slug)

    @property
    def target(self) -> Target:
        return Target("workspace", str(self.public_id), self.slug)


class Session(models.Model):
    """One container on a workspace, from the click to its end.

    ``desired_state`` is what somebody asked for, ``observed_state`` what Incus said at ``observed_at``,
    ``operation`` the newest work on it, and ``state`` the one word for the three; all four are written
    by ``sessions.transitions`` only.  A stopped session lives; one with ``ended_at`` is history.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=63, db_index=True)
    slot = models.PositiveSmallIntegerField()
    workspace = models.ForeignKey(Workspace, null=True, on_delete=models.SET_NULL, related_name="sessions")
    workspace_slug = models.CharField(max_length=64)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="coi_sessions")
    owner_name = models.CharField(max_length=32)
    team = models.ForeignKey("coi_accounts.Team", null=True, on_delete=models.SET_NULL, related_name="+")
    team_name = models.CharField(max_length=100, blank=True)
    profile_name = models.CharField(max_length=64)
    image = models.CharField(max_length=200)
    mode = models.CharField(max_length=10, choices=[(mode.value, mode.value) for mode in Mode])
    desired_state = models.CharField(max_length=8, default=Desired.RUNNING.value)
    observed_state = models.CharField(max_length=8, default=Observed.ABSENT.value)
    observed_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=8, default=State.QUEUED.value)
    operation = models.ForeignKey(
        "coi_operations.Operation", null=True, on_delete=models.SET_NULL, related_name="+"
    )
    #: From the form that asked for the session: sent twice, it makes one.
    once = models.CharField(max_length=64, blank=True)
    kill_requested_at = models.DateTimeField(null=True)
    kill_requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_reason = models.CharField(max_length=16, blank=True)
    ended_message = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "slot"],
                condition=Q(ended_at=None),
                name="coi_sessions_one_live_per_slot",
            ),
            models.UniqueConstraint(
                fields=["name"], condition=Q(ended_at=None), name="coi_sessions_one_live_per_name"
            ),
            models.UniqueConstraint(
                fields=["owner", "once"], condition=~Q(once=""), name="coi_sessions_form_sent_once"
            ),
            models.CheckConstraint(
                condition=Q(slot__gte=SLOTS.start, slot__lt=SLOTS.stop), name="coi_sessions_slot_in_range"
            ),
            models.CheckConstraint(condition=Q(mode__in=_values(Mode)), name="coi_sessions_mode_known"),
            models.CheckConstraint(
                condition=Q(desired_state__in=_values(Desired)), name="coi_sessions_desired_known"
            ),
            models.CheckConstraint(
                condition=Q(observed_state__in=_values(Observed)), name="coi_sessions_observed_known"
            ),
            models.CheckConstraint(condition=Q(state__in=_values(State)), name="coi_sessions_state_known"),
            models.CheckConstraint(
                condition=Q(ended_at=None, ended_reason="")
                | Q(ended_at__isnull=False, ended_reason__in=_values(EndReason)),
                name="coi_sessions_ended_for_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=False) | Q(workspace__isnull=False),
                name="coi_sessions_live_has_workspace",
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="coi_sessions_by_owner"),
            models.Index(fields=["team", "-created_at"], name="coi_sessions_by_team"),
            models.Index(fields=["state", "-created_at"], name="coi_sessions_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"

    @property
    def is_live(self) -> bool:
        return self.ended_at is None

    @property
    def doing(self) -> str:
        """The action of the active operation, or ""; costs a query unless ``operation`` is loaded."""
        if self.operation is None or not self.operation.is_active:
            return ""
        return Action(self.operation.kind.removeprefix("session."))

    @property
    def target(self) -> Target:
        return Target("session", str(self.public_id), self.name)


class SessionTransition(models.Model):
    """One change of a session's word: when, to what, why, by whom."""

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="transitions")
    at = models.DateTimeField(default=timezone.now)
    from_state = models.CharField(max_length=8, blank=True)
    to_state = models.CharField(max_length=8)
    reason = models.CharField(max_length=200)
    by_name = models.CharField(max_length=150)

    class Meta:
        ordering = ["at", "pk"]
        indexes = [models.Index(fields=["session", "at"], name="coi_sessions_transition_at")]

    def __str__(self) -> str:
        return f"{self.session_id}: {self.from_state} → {self.to_state}"
