"""Database and static files: made ready at every start, at once where nothing has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from coi_web.launcher.errors import LauncherError
from coi_web.launcher.output import Output
from coi_web.launcher.panel import Panel
from coi_web.launcher.paths import ROOT
from coi_web.launcher.supervisor import Supervisor

_PACKAGES = ("coi_web", "sessions", "monitoring")
_LOCK = ROOT / "requirements" / "base.txt"
_LIMIT_S = 600


def prepare_database(panel: Panel, supervisor: Supervisor, output: Output) -> None:
    """Applies migrations where migrations, requirements or the database are not those of the last time."""
    stamp = panel.data.stamps / "database"
    known = database_identity(panel)
    if known and _read(stamp) == digest_files([*_migrations(), _LOCK], known):
        return
    with output.step("Preparing the database"):
        _manage(panel, supervisor, "migrate", "--noinput", what="The database could not be prepared.")
    stamp.write_text(digest_files([*_migrations(), _LOCK], database_identity(panel)))


def database_identity(panel: Panel) -> str:
    """Tells the data folder's own database from another in its place; empty where nobody can tell."""
    if any(os.environ.get(name) for name in ("COI_DATABASE_URL", "COI_DATABASE_URL_FILE")):
        return ""
    try:
        return str((panel.data.path / "coi-web.sqlite3").stat().st_ino)
    except OSError:
        return ""


def is_administrator_known(panel: Panel) -> bool:
    """Whether an administrator of this database had a password at an earlier start."""
    known = database_identity(panel)
    return bool(known) and _read(panel.data.stamps / "administrator") == known


def remember_administrator(panel: Panel) -> None:
    """Saves the next start the question."""
    (panel.data.stamps / "administrator").write_text(database_identity(panel))


def prepare_static(panel: Panel, supervisor: Supervisor, output: Output) -> None:
    """Collects, hashes and compresses the static files where one of them is not that of the last time."""
    stamp = panel.data.stamps / "static"
    target = panel.data.path / "static"
    digest = digest_metadata([*_static_files(), _LOCK])
    if (target / "staticfiles.json").is_file() and _read(stamp) == digest:
        return
    with output.step("Preparing the static files"):
        _manage(
            panel,
            supervisor,
            "collectstatic",
            "--noinput",
            "--clear",
            # We serve our own copy of htmx; the one in the package refers to files that it does not have.
            "--ignore=django_htmx",
            what="The static files could not be prepared.",
        )
    stamp.write_text(digest)


def _manage(panel: Panel, supervisor: Supervisor, *arguments: str, what: str) -> None:
    code, text = supervisor.run_once(panel.manage("setup", *arguments, "-v", "0"), timeout_s=_LIMIT_S)
    if code != 0 and not supervisor.stop_requested:
        raise LauncherError(
            f"{arguments[0]}-failed",
            what,
            detail="\n".join(text.splitlines()[-20:]),
            mend=["The lines above say why. ./coi-web doctor looks at everything around it."],
        )


def _migrations() -> list[Path]:
    return sorted(path for package in _PACKAGES for path in (ROOT / package).rglob("migrations/*.py"))


def _static_files() -> list[Path]:
    folders = [ROOT / "static", *(path for package in _PACKAGES for path in (ROOT / package).rglob("static"))]
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def digest_files(paths: Iterable[Path], *words: str) -> str:
    """A hash over names and contents; a missing file counts as empty."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"\0{path}\0".encode())
        if path.is_file():
            total.update(path.read_bytes())
    total.update("\0".join(words).encode())
    return total.hexdigest()


def digest_metadata(paths: Iterable[Path]) -> str:
    """A hash over names, sizes and times of change: for files that are too big to read at every start."""
    total = hashlib.sha256()
    for path in paths:
        found = path.stat()
        total.update(f"\0{path}\0{found.st_size}\0{found.st_mtime_ns}".encode())
    return total.hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
