"""The one place where failures of Incus and of its libraries become errors of the panel.

Only Incus' own error text and HTTP status go in.  Operation metadata never does: it holds the secrets of
the exec sockets.
"""

from __future__ import annotations

from coi_web.errors import (
    DiskFull,
    IncusConflict,
    IncusError,
    IncusNotFound,
    IncusRejected,
    IncusTimedOut,
    IncusUnavailable,
    InstanceFrozen,
)

#: Longest part of an error text that is kept: some carry the output of a helper program.
_MAX_DETAIL = 2000

_FULL = "The disk is full. Delete files or snapshots, or ask an administrator for more space, then try again."
_FROZEN = "It is frozen. Unfreeze it, then try again."
_CHANGED = "It changed meanwhile. Look at its state, then try again."

#: Words in Incus' error texts (6.0) -> what they mean here. The first that fits wins.
_TEXTS: tuple[tuple[str, type[IncusError], str | None, str], ...] = (
    ("disk quota exceeded", DiskFull, None, _FULL),
    ("no space left", DiskFull, None, _FULL),
    ("is frozen", InstanceFrozen, None, _FROZEN),
    ("already frozen", InstanceFrozen, None, _FROZEN),
    ("already running", IncusConflict, "already-running", "It is running already."),
    ("already stopped", IncusConflict, "already-stopped", "It is stopped already."),
    ("not frozen", IncusConflict, "not-frozen", "It is not frozen."),
    ("isn't running", IncusConflict, "not-running", "It is not running. Start it, then try again."),
    ("not running", IncusConflict, "not-running", "It is not running. Start it, then try again."),
    ("instance is running", IncusConflict, "still-running", "It is still running. Stop it, then try again."),
    ("is currently running", IncusConflict, "still-running", "It is still running. Stop it, then try again."),
    ("still in use", IncusConflict, "in-use", "It is still in use. End what uses it, then try again."),
    ("currently in use", IncusConflict, "in-use", "It is still in use. End what uses it, then try again."),
    ("image not provided", IncusNotFound, "image-not-found", "The image is missing. Choose another one."),
    ("unique constraint failed", IncusConflict, "already-exists", "Something of that name exists already."),
    ("already exists", IncusConflict, "already-exists", "Something of that name exists already."),
    ("already in use", IncusConflict, "already-exists", "Something of that name exists already."),
    (
        "busy running",
        IncusConflict,
        "busy",
        "Something else is being done to it. Wait a moment, then try again.",
    ),
    (
        "maximum aggregate",
        IncusRejected,
        "engine-limit",
        "The limit of the Incus project is reached. End something, or ask an administrator.",
    ),
    (
        "failed shutting down",
        IncusTimedOut,
        "did-not-stop",
        "It did not shut down in time. Stop it by force.",
    ),
    ("shutdown timed out", IncusTimedOut, "did-not-stop", "It did not shut down in time. Stop it by force."),
    ("deadline exceeded", IncusTimedOut, None, "It took too long. Look at its state, then try again."),
    (
        "not authorized",
        IncusRejected,
        "incus-not-trusted",
        "The engine does not trust the panel. Tell an administrator.",
    ),
)


def rejected(status: int, text: str, *, doing: str) -> IncusError:
    """The error for an answer of Incus. ``doing`` completes "Could not …", such as "start coi-1a2b3c4d-1"."""
    lowered = text.lower()
    detail = f"{doing}: Incus answered {status}: {text[:_MAX_DETAIL]}"
    for words, kind, code, advice in _TEXTS:
        if words in lowered:
            return kind(f"Could not {doing}. {advice}", code=code, log_detail=detail)
    if status == 404 or "not found" in lowered:
        return IncusNotFound(
            f"Could not {doing}: it, or something it needs, is not there. Reload the page and look again.",
            log_detail=detail,
        )
    if status in (401, 403):
        return IncusRejected(
            f"Could not {doing}: the engine does not trust the panel. Tell an administrator.",
            code="incus-not-trusted",
            log_detail=detail,
        )
    if status in (409, 412):
        return IncusConflict(f"Could not {doing}. {_CHANGED}", log_detail=detail)
    if status in (502, 503):
        return unavailable(detail, doing=doing)
    return IncusRejected(
        f"Could not {doing}: the engine refused. Try again; if it stays so, tell an administrator.",
        log_detail=detail,
    )


def unavailable(reason: object, *, doing: str) -> IncusUnavailable:
    """The engine cannot be reached, or went away while it was asked."""
    return IncusUnavailable(
        f"Could not {doing}: the engine does not answer. Try again in a minute; "
        "if it stays so, tell an administrator.",
        log_detail=f"{doing}: {describe(reason)}",
    )


def timed_out(seconds: float, *, doing: str) -> IncusTimedOut:
    return IncusTimedOut(
        f"Could not {doing} within {seconds:g} seconds. It may still happen: look at its state "
        "before you try again.",
        log_detail=f"{doing}: no end after {seconds:g} s",
    )


def describe(reason: object) -> str:
    """One line about a library's exception that is fit for the log."""
    if isinstance(reason, BaseException):
        return f"{type(reason).__name__}: {reason}"[:_MAX_DETAIL]
    return str(reason)[:_MAX_DETAIL]
