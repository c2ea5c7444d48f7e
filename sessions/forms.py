"""What people fill in.  Forms read and name fields; what is allowed is decided by the services."""

from __future__ import annotations

import uuid
from typing import Any, Final

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS

from coi_web.accounts.access import teams_of
from coi_web.accounts.models import Team, User
from coi_web.errors import CoiError
from sessions.models import Workspace, WorkspaceState
from sessions.names import SLOTS, WORKSPACE_NAME_PATTERN
from sessions.profiles import profiles
from sessions.services.workspaces import DEFAULT_SIZE_BYTES
from sessions.states import Mode

GIB: Final = 1024**3
#: Offered sizes; the service accepts any between its own limits.
SIZES_GIB: Final = (1, 5, 10, 20, 50, 100, 200)
NEW: Final = "new"

_NAME_HELP = "Small letters, digits and hyphens, up to 31."


def add_refusal(form: forms.Form, error: CoiError, names: dict[str, str] | None = None) -> None:
    """Put a service's refusal at the field it names, or above the form."""
    field = str(error.data.get("field", ""))
    field = (names or {}).get(field, field)
    form.add_error(field if field in form.fields else NON_FIELD_ERRORS, error.message)


class WorkspaceForm(forms.Form):
    name = forms.CharField(max_length=31, help_text=_NAME_HELP)
    size_gib = forms.TypedChoiceField(
        label="Size",
        coerce=int,
        choices=[(size, f"{size} GiB") for size in SIZES_GIB],
        initial=DEFAULT_SIZE_BYTES // GIB,
    )
    team = forms.ModelChoiceField(
        queryset=Team.objects.none(),
        required=False,
        empty_label="Only me",
        to_field_name="slug",
        label="Who sees it",
        help_text="A team sees the workspace and its sessions; its leads can stop them. Only you open terminals.",
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        teams = teams_of(user)
        if teams:
            self.fields["team"].queryset = Team.objects.filter(pk__in=[team.pk for team in teams])  # type: ignore[attr-defined]
        else:
            del self.fields["team"]
        name = self.fields["name"].widget.attrs
        name |= {
            "pattern": WORKSPACE_NAME_PATTERN[1:-1],
            "autocapitalize": "none",
            "autocomplete": "off",
            "spellcheck": "false",
        }


class StartForm(WorkspaceForm):
    """A workspace (picked, or made on the way), a mode, a profile; once is what makes a double send harmless."""

    workspace = forms.ChoiceField(widget=forms.RadioSelect)
    mode = forms.ChoiceField(
        choices=[(mode.value, mode.value) for mode in Mode], initial=Mode.EPHEMERAL.value
    )
    profile = forms.ChoiceField()
    slot = forms.TypedChoiceField(
        required=False,
        coerce=int,
        empty_value=None,
        choices=[("", "Lowest free one"), *((slot, str(slot)) for slot in SLOTS)],
        help_text="Slots let several sessions work on one workspace at the same time.",
    )
    open_terminal = forms.BooleanField(
        required=False, initial=True, label="Open the terminal as soon as it runs"
    )
    once = forms.CharField(max_length=64, widget=forms.HiddenInput)

    field_order = (
        "workspace",
        "name",
        "size_gib",
        "team",
        "mode",
        "profile",
        "slot",
        "open_terminal",
        "once",
    )

    def __init__(self, *args: Any, user: User, workspaces: list[Workspace], **kwargs: Any) -> None:
        super().__init__(*args, user=user, **kwargs)
        self.workspaces = [
            one for one in workspaces if one.state not in (WorkspaceState.DELETING, WorkspaceState.LOST)
        ]
        choices = [(one.slug, one.slug) for one in self.workspaces]
        chosen = self.fields["workspace"]
        assert isinstance(chosen, forms.ChoiceField)  # declared above
        chosen.choices = [*choices, (NEW, "A new one")]
        chosen.initial = choices[0][0] if choices else NEW
        profile = self.fields["profile"]
        assert isinstance(profile, forms.ChoiceField)  # declared above
        profile.choices = [(one.name, one.title) for one in profiles()]
        profile.initial = profiles()[0].name
        self.fields["name"].required = False
        self.fields["size_gib"].required = False
        self.fields["once"].initial = uuid.uuid4().hex

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("workspace") == NEW and not data.get("name") and "name" not in self.errors:
            self.add_error("name", "Give the new workspace a name.")
        return data

    def picked(self) -> Workspace | None:
        """The workspace that was picked; None for a new one."""
        slug = self.cleaned_data["workspace"]
        return next((one for one in self.workspaces if one.slug == slug), None)

    def size_bytes(self) -> int:
        size = self.cleaned_data.get("size_gib")
        return int(size) * GIB if size else DEFAULT_SIZE_BYTES
