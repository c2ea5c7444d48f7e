"""Where things lie: the checkout, and what belongs to one data folder."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from coi_web.launcher.errors import LauncherError

ROOT = Path(__file__).resolve().parents[2]
#: ``sun_path`` of a Unix socket holds 108 bytes with the closing zero byte.
SOCKET_PATH_LIMIT = 107
#: What may lie in the default folder before the first start: written by ./coi-web itself.
_BEFORE_FIRST_START = {"install.log", ".install.lock", "cache", "logs"}


@dataclass(frozen=True, slots=True)
class DataFolder:
    """One panel's data: database, secrets, logs, queue.  Only its owner may look inside."""

    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def state(self) -> Path:
        return self.path / "state.json"

    @property
    def queue(self) -> Path:
        return self.path / "queue"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def stamps(self) -> Path:
        return self.path / "stamps"

    @property
    def secret_key(self) -> Path:
        return self.path / "secrets" / "secret_key"

    @property
    def audit_key(self) -> Path:
        return self.path / "secrets" / "audit_key"

    def make(self) -> None:
        """Makes the folders and, once, the secrets; safe to repeat.

        Raises LauncherError where the folder cannot be made or written, belongs to somebody else, or holds
        other things: it is closed to everybody else, which must not happen to a /tmp.
        """
        try:
            foreign = self._foreign_entries()
            if foreign:
                raise LauncherError(
                    "data-folder-in-use",
                    f"{self.path} holds other things ({foreign[0]}) and no panel's data.",
                    mend=["Choose an empty or new folder with --data DIR."],
                )
            for folder in (self.path, self.path / "secrets", self.logs, self.queue, self.stamps):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            owner = self.path.stat().st_uid
            if owner == os.geteuid():
                for folder in (self.path, self.path / "secrets"):
                    folder.chmod(0o700)
            for file in (self.secret_key, self.audit_key):
                _make_secret(file)
        except OSError as error:
            raise LauncherError(
                "data-folder",
                f"The data folder {self.path} cannot be used: {error.strerror}.",
                mend=["Choose another with --data DIR, or give yourself the rights to it."],
            ) from error
        if owner != os.geteuid():
            raise LauncherError(
                "data-folder-owner",
                f"The data folder {self.path} belongs to user id {owner}, and you are {os.geteuid()}.",
                mend=["Run as that user, or choose another folder with --data DIR."],
            )

    def _foreign_entries(self) -> list[str]:
        """What lies in the folder although it was never a panel's; empty for a new and for our own folder."""
        if not self.path.is_dir() or (self.path / "secrets").is_dir():
            return []
        return sorted(entry.name for entry in self.path.iterdir() if entry.name not in _BEFORE_FIRST_START)

    def socket_path(self, name: str) -> Path:
        """Where a Unix socket of this data folder goes: inside it, or in a short runtime folder.

        The kernel takes at most 107 bytes, which a deep data folder exceeds.  The runtime folder's name
        depends on the data folder only, so every command finds the same one.
        """
        direct = self.path / name
        if len(os.fsencode(direct)) <= SOCKET_PATH_LIMIT:
            return direct
        key = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or ("/run" if os.geteuid() == 0 else "/tmp"))  # noqa: S108
        folder = base / f"coi-web-{os.geteuid()}-{key}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # In a shared /tmp somebody else may have been there first.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise LauncherError(
                "socket-folder",
                f"{folder} is not a folder of yours alone.",
                mend=[f"Remove {folder}, or choose a shorter --data DIR."],
            )
        return folder / name


def _make_secret(path: Path) -> None:
    """Writes 64 random bytes in hexadecimal, unless the file is there; never overwrites."""
    if path.exists():
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_hex(64) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(path)
