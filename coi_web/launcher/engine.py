"""Which Incus the panel uses, and which pool, network and image in it: ours, or those the environment names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from coi_web.launcher.errors import LauncherError
from coi_web.launcher.incus_rest import DEFAULT_SOCKET, IncusRest

POOL = "coi-web"
NETWORK = "coiweb0"
STARTER = "coi-default"
TINY = "coi-tiny"


@dataclass(frozen=True, slots=True)
class Engine:
    """``remote`` is the address of an Incus elsewhere, empty for this machine's own."""

    remote: str = ""
    socket: Path = DEFAULT_SOCKET
    project: str = "default"
    pool: str = POOL
    network: str = NETWORK
    image: str = STARTER

    @classmethod
    def from_environment(cls, *, tiny: bool) -> Engine:
        """As the panel's own settings read it; ``tiny`` chooses the small image whatever they say."""
        endpoint = os.environ.get("COI_INCUS_ENDPOINT") or str(DEFAULT_SOCKET)
        is_remote = endpoint.startswith("https://")
        return cls(
            remote=endpoint if is_remote else "",
            socket=DEFAULT_SOCKET if is_remote else Path(endpoint),
            project=os.environ.get("COI_INCUS_PROJECT") or "default",
            pool=os.environ.get("COI_INCUS_POOL") or POOL,
            network=os.environ.get("COI_INCUS_NETWORK") or NETWORK,
            image=TINY if tiny else os.environ.get("COI_DEFAULT_IMAGE") or STARTER,
        )

    @property
    def is_ours_to_start(self) -> bool:
        """Whether this is the machine's own daemon, which we may install and start."""
        return not self.remote and self.socket == DEFAULT_SOCKET

    def client(self) -> IncusRest:
        return IncusRest(self.socket, self.project)


def not_there(kind: str, name: str, variable: str) -> LauncherError:
    """For what the environment names and Incus does not have: we make our own things only."""
    return LauncherError(
        f"incus-{kind}",
        f"Incus has no {kind} {name}, which {variable} names.",
        mend=[f"Make it, or unset {variable}: then coi-web makes its own."],
    )
