"""The page *New session*: what would happen, and making it happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from coi_web.accounts.access import require_user
from coi_web.audit.actors import Actor
from sessions.commands import start_command
from sessions.forms import NEW, StartForm
from sessions.models import Session, Workspace
from sessions.names import SLOTS, container_name, identity_of, is_workspace_name, workspace_slug
from sessions.profiles import Profile, profiles
from sessions.queries import live_sessions_count, workspaces_count
from sessions.services.lifecycle import start_session
from sessions.services.workspaces import create_workspace
from sessions.states import Mode

#: Stands for a name that is missing or cannot be used; no workspace can be called that.
_UNNAMED: Final = "NAME"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that will happen, or (``refused``) that stands in the way."""

    text: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """Use of a cap after the start."""

    label: str
    use: int
    limit: int

    @property
    def is_over(self) -> bool:
        return self.use > self.limit


@dataclass(frozen=True, slots=True)
class Preview:
    lines: tuple[Line, ...]
    shares: tuple[Share, ...]
    command: str
    profile: Profile

    @property
    def refused(self) -> bool:
        return any(line.refused for line in self.lines) or any(share.is_over for share in self.shares)


def preview(actor: Actor, form: StartForm, values: dict[str, Any]) -> Preview:
    """What starting with ``values`` (text, as typed, possibly nonsense) would do.  Changes nothing."""
    user = require_user(actor)
    chosen = str(values.get("workspace") or form["workspace"].initial)
    mode = str(values.get("mode") or Mode.EPHEMERAL)
    profile = next((one for one in profiles() if one.name == values.get("profile")), profiles()[0])
    slot = int(text) if (text := str(values.get("slot") or "")).isdecimal() and int(text) in SLOTS else None
    lines: list[Line] = []
    shares = [Share("Sessions", live_sessions_count(user) + 1, settings.COI_MAX_SESSIONS_PER_USER)]
    picked = next((one for one in form.workspaces if one.slug == chosen), None)
    if picked is not None:
        slug = picked.slug
        slot, line = _slot_line(picked, slot)
    else:
        name = str(values.get("name") or "")
        slug = workspace_slug(user.username, name if is_workspace_name(name) else _UNNAMED)
        shares.append(Share("Workspaces", workspaces_count(user) + 1, settings.COI_MAX_WORKSPACES_PER_USER))
        lines.append(_new_workspace_line(name, form.workspaces, slug))
        slot = slot or SLOTS.start
        line = _name_line(slug, slot)
    lines += [
        line,
        Line(f"It runs the image {profile.image} with the profile {profile.title}."),
        _mode_line(mode),
    ]
    return Preview(
        tuple(lines), tuple(shares), start_command(slug, profile=profile.name, mode=mode, slot=slot), profile
    )


def start(actor: Actor, form: StartForm) -> Session:
    """Do it.  A new workspace stays when the session is refused, as the person asked for both.

    Raises what ``create_workspace`` and ``start_session`` raise.
    """
    data = form.cleaned_data
    workspace = form.picked()
    if workspace is None:
        workspace, _ = create_workspace(
            actor=actor, name=data["name"], size_bytes=form.size_bytes(), team=data.get("team")
        )
    session, _ = start_session(
        actor=actor,
        workspace=workspace,
        mode=data["mode"],
        profile=data["profile"],
        slot=data.get("slot"),
        once=data["once"],
    )
    return session


def is_new(form: StartForm) -> bool:
    return str(form["workspace"].value()) == NEW


def _slot_line(workspace: Workspace, wanted: int | None) -> tuple[int | None, Line]:
    used = set(Session.objects.filter(workspace=workspace, ended_at=None).values_list("slot", flat=True))
    if wanted is not None and wanted in used:
        return wanted, Line(f"Slot {wanted} of {workspace.slug} is in use. Choose another.", refused=True)
    free = [slot for slot in SLOTS if slot not in used]
    if not free:
        return None, Line(
            f"All {len(SLOTS)} slots of {workspace.slug} are in use. End a session on it.", refused=True
        )
    slot = wanted or free[0]
    return slot, _name_line(workspace.slug, slot)


def _name_line(slug: str, slot: int) -> Line:
    if slug.endswith(f".{_UNNAMED}"):
        return Line(f"A container starts on it, in slot {slot}.")
    name = container_name(identity_of(slug), slot, prefix=settings.COI_CONTAINER_PREFIX)
    return Line(f"The container {name} starts on {slug}, in slot {slot}.")


def _new_workspace_line(name: str, existing: list[Workspace], slug: str) -> Line:
    if not name:
        return Line("A new workspace is made first. Give it a name.")
    if not is_workspace_name(name):
        return Line(
            "The name takes up to 31 small letters, digits and hyphens, beginning with a letter or digit.",
            refused=True,
        )
    if any(one.slug == slug for one in existing):
        return Line(f"You have a workspace {slug} already. Pick it, or choose another name.", refused=True)
    return Line(f"The workspace {slug} is made first.")


def _mode_line(mode: str) -> Line:
    if mode == Mode.PERSISTENT:
        return Line("When it ends, the container is stopped and kept; you can start it again.")
    return Line("When it ends, the container is deleted; files in /workspace stay.")
