"""One supervisor per data folder."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from coi_web.launcher.errors import LauncherError


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a data folder; ``since`` is local time as text."""

    pid: int
    since: str
    url: str


class DataLock:
    """The lock of a data folder.  The kernel lets go of it when the last process that holds it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @classmethod
    def inherited(cls, path: Path, descriptor: int) -> DataLock:
        """The lock that the starting process took and handed over as an open file."""
        lock = cls(path)
        os.set_inheritable(descriptor, False)
        lock._descriptor = descriptor
        return lock

    @property
    def descriptor(self) -> int:
        assert self._descriptor is not None, "only a held lock has a descriptor"
        return self._descriptor

    def take(self, url: str) -> None:
        """Takes the lock, or raises LauncherError naming the one who has it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise _refusal(self.path, read_holder(self.path)) from None
        self._descriptor = descriptor
        self.describe(url)

    def describe(self, url: str) -> None:
        """Writes who we are into the lock, for those who find it held."""
        text = json.dumps({"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S"), "url": url})
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, text.encode(), 0)

    def release(self) -> None:
        """Lets go; safe to repeat."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _refusal(path: Path, holder: Holder | None) -> LauncherError:
    if holder is None:
        return LauncherError(
            "already-running", f"Somebody holds {path.parent} and does not say who.", mend=["Try again."]
        )
    at = f", at {holder.url}" if holder.url else ""
    return LauncherError(
        "already-running",
        f"The panel already runs on {path.parent}: process {holder.pid}, since {holder.since}{at}.",
        mend=["Use it, stop it with ./coi-web down, or choose another folder with --data DIR."],
    )


def read_holder(path: Path) -> Holder | None:
    """What the lock file says, held or not; None where it says nothing that can be read."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(said["pid"]), str(said["since"]), str(said["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def current_holder(path: Path) -> Holder | None:
    """Who holds the lock right now; None where nobody does."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_holder(path) or Holder(0, "an unknown time", "")
    finally:
        os.close(descriptor)
    return None
