"""The launcher's one kind of expected failure."""

from __future__ import annotations

from collections.abc import Iterable


class LauncherError(Exception):
    """Something the person at the keyboard can mend.

    ``message`` says what failed, ``mend`` says what to do (one line each), ``code`` is stable;
    ``detail`` is the end of a failed command's output, where there is one.
    """

    def __init__(self, code: str, message: str, *, mend: Iterable[str] = (), detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.mend = tuple(mend)
        self.detail = detail
