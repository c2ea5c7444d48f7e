"""COI's naming rule and our names beside it.

A container is ``<prefix><hash8>-<slot>``, where hash8 are the first 8 hex digits of the SHA-256 of the
workspace's identity.  Our workspaces are volumes and have no path, so their identity is COI's
``session-name:<slug>`` with the slug ``<username>.<workspace>``.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass

#: COI's range of slots: parallel containers of one identity.
SLOTS = range(1, 11)
WORKSPACE_NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,30}$"


@dataclass(frozen=True, slots=True)
class ContainerName:
    hash8: str
    slot: int


def identity_of(slug: str) -> str:
    return f"session-name:{slug}"


def hash8(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def container_name(identity: str, slot: int, *, prefix: str = "coi-") -> str:
    """Raises ValueError for a slot outside 1 to 10."""
    if slot not in SLOTS:
        raise ValueError(f"slot {slot} is outside {SLOTS.start} to {SLOTS.stop - 1}")
    return f"{prefix}{hash8(identity)}-{slot}"


def parse_container_name(name: str, *, prefix: str = "coi-") -> ContainerName | None:
    """The parts of a name made by the rule, or None."""
    match = re.fullmatch(re.escape(prefix) + r"([a-f0-9]{8})-(\d{1,4})", name)
    return None if match is None else ContainerName(match[1], int(match[2]))


def workspace_slug(username: str, name: str) -> str:
    """Usernames have no dot, so two people's workspaces never share a slug."""
    return f"{username}.{name}"


def is_workspace_name(name: str) -> bool:
    return re.fullmatch(WORKSPACE_NAME_PATTERN, name) is not None


def volume_name(slug: str, public_id: uuid.UUID) -> str:
    """The Incus volume of a workspace: readable, and never that of an earlier one with the same slug."""
    return f"coi-web-{slug.replace('.', '-')}-{public_id.hex[:8]}"
