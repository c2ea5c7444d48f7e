"""The built-in profile; images and limits in COI's words and units."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from coi_web.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Limits:
    """As COI's ``[limits]``; an empty text or 0 means not limited.

    ``cpu`` is a count, ``memory`` and ``disk`` sizes such as ``4GiB``.  ``disk`` is the container's own
    disk; the workspace has a size of its own.
    """

    cpu: str = ""
    memory: str = ""
    processes: int = 0
    disk: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    title: str
    when_to_use: str
    image: str
    limits: Limits
    #: Whether containers and Docker work inside.
    docker: bool = True


def profiles() -> tuple[Profile, ...]:
    return (
        Profile(
            name="default",
            title="Default",
            when_to_use="Everyday work: a Debian container with tmux and git, Docker can be installed inside.",
            image=settings.COI_DEFAULT_IMAGE,
            limits=Limits(cpu="2", memory="4GiB", processes=4096, disk="20GiB"),
        ),
    )


def profile_named(name: str) -> Profile:
    """Raises InvalidInput (``unknown-profile``)."""
    for profile in profiles():
        if profile.name == name:
            return profile
    known = ", ".join(profile.name for profile in profiles())
    raise InvalidInput(
        f"There is no profile of this name. Choose one of: {known}.",
        code="unknown-profile",
        data={"field": "profile"},
    )
