"""Typed readers for ``COI_…`` environment variables.

A value that cannot be read or parsed stops the start with the variable's name: a panel that runs with
half of its settings guessed is worse than one that does not run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def _read(name: str, default: T, parse: Callable[[str], T]) -> T:
    raw = os.environ.get(name)
    if raw is None or raw == "":
        return default
    try:
        return parse(raw)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} cannot be used: {error}") from error


def text(name: str, default: str = "") -> str:
    return _read(name, default, str)


def boolean(name: str, default: bool) -> bool:
    def parse(raw: str) -> bool:
        word = raw.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise ValueError(f"{raw!r} is neither yes nor no")

    return _read(name, default, parse)


def integer(name: str, default: int, *, least: int = 0, most: int = 2**31) -> int:
    def parse(raw: str) -> int:
        value = int(raw)
        if not least <= value <= most:
            raise ValueError(f"{value} is not between {least} and {most}")
        return value

    return _read(name, default, parse)


def words(name: str, default: list[str]) -> list[str]:
    """A comma-separated list; blanks around the words do not count."""
    return _read(name, default, lambda raw: [word.strip() for word in raw.split(",") if word.strip()])


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    def parse(raw: str) -> str:
        if raw not in allowed:
            raise ValueError(f"{raw!r} is none of {', '.join(allowed)}")
        return raw

    return _read(name, default, parse)


def path(name: str, default: Path) -> Path:
    return _read(name, default, lambda raw: Path(raw).absolute())


def secret(name: str, default: str | None = None) -> str:
    """The value of ``NAME``, or the content of the file that ``NAME_FILE`` names; without both, the default.

    Raises ImproperlyConfigured where neither is given and there is no default, where both are given,
    and where the file cannot be read or is empty.  The value is never part of the message.
    """
    value, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    if value and file:
        raise ImproperlyConfigured(f"{name} and {name}_FILE are both set: keep one of them")
    if file:
        try:
            value = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error}") from error
        if not value:
            raise ImproperlyConfigured(f"{name}_FILE names an empty file")
    if value:
        return value
    if default is None:
        raise ImproperlyConfigured(f"{name} (or {name}_FILE) must be set")
    return default


def database(name: str, default_sqlite: Path) -> dict[str, object]:
    """Django's database settings from the URL in ``NAME`` or ``NAME_FILE``, else a SQLite file."""
    return database_from_url(name, secret(name, f"sqlite:///{default_sqlite}"))


def database_from_url(name: str, url: str) -> dict[str, object]:
    """Django's database settings from ``sqlite:///path`` or ``postgresql://user:password@host:port/name``.

    A PostgreSQL socket folder is given as ``?host=/folder``.  Raises ImproperlyConfigured for other URLs.
    SQLite: WAL, IMMEDIATE transactions and a 5 s wait, so that a conditional UPDATE has exactly one winner.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # The reason is not passed on: it may quote the part of the URL with the password.
        raise ImproperlyConfigured(f"{name} is no URL that can be read: check its host and port") from None
    if parts.scheme == "sqlite":
        if not parts.path.strip("/"):
            raise ImproperlyConfigured(f"{name} names no file: write sqlite:////folder/file.sqlite3")
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": "/" + unquote(parts.path.lstrip("/")),
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 5,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000;",
            },
        }
    if parts.scheme in ("postgresql", "postgres"):
        query = dict(item.split("=", 1) for item in parts.query.split("&") if "=" in item)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(query.get("host", parts.hostname or "")),
            "PORT": str(port or ""),
            "CONN_MAX_AGE": 0,
            "CONN_HEALTH_CHECKS": True,
        }
    raise ImproperlyConfigured(f"{name} must begin with sqlite:// or postgresql://, not {parts.scheme!r}")
