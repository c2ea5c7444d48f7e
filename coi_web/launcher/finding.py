"""What ``doctor`` says about one thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """``code`` is stable; ``mend`` is what to do, one line each, empty where all is well."""

    code: str
    level: Level
    message: str
    mend: tuple[str, ...] = ()


def well(code: str, message: str) -> Finding:
    return Finding(code, Level.OK, message)


def warn(code: str, message: str, *mend: str) -> Finding:
    return Finding(code, Level.WARN, message, mend)


def fail(code: str, message: str, *mend: str) -> Finding:
    return Finding(code, Level.FAIL, message, mend)
