"""Which command a browser terminal runs inside the container.

One exec decides everything inside, so attaching costs one round trip: tmux where the image has it,
with COI's session name, so that ``coi attach`` and the browser share one screen; a plain login
shell otherwise.  The script's first output is a private marker that says which; ``ShellMarker``
takes it out of the stream again.
"""

from __future__ import annotations

from typing import Final, Literal

from coi_web.incus.types import ExecRequest

Shell = Literal["tmux", "plain"]

#: COI's in-container user ``code``.
CODE_UID: Final = 1000
CODE_HOME: Final = "/home/code"
WORKSPACE: Final = "/workspace"

#: An application program command: terminals that should see it by accident ignore it.
_MARKER_START: Final = b"\x1b_coi-web;"
_MARKER_END: Final = b"\x1b\\"
_SHELLS: Final[dict[bytes, Shell]] = {b"t": "tmux", b"p": "plain"}

# ``exec`` throughout: what ends is the shell itself, so its exit code is the terminal's.
# The directory is entered here and not by the engine, which fails where it is missing.
_SCRIPT: Final = r"""
name=$COI_WEB_TMUX_SESSION
unset COI_WEB_TMUX_SESSION
[ -d "$HOME" ] || export HOME=/
cd /workspace 2>/dev/null || cd "$HOME" 2>/dev/null || cd /
if command -v tmux >/dev/null 2>&1; then
    printf '\033_coi-web;t\033\\'
    exec tmux -u new-session -A -s "$name"
fi
printf '\033_coi-web;p\033\\'
if command -v bash >/dev/null 2>&1; then
    exec bash -l
fi
exec sh -l
"""


def tmux_session_name(container: str) -> str:
    """The name COI gives the tmux session of a container."""
    return f"coi-{container}"


def shell_request(container: str, *, cols: int, rows: int, user: int = CODE_UID) -> ExecRequest:
    """The exec that opens (or joins) the terminal of a container.

    ``user`` is 0 for images without COI's ``code`` user, whose home is then ``/root``.
    """
    return ExecRequest(
        command=("sh", "-c", _SCRIPT),
        environment={
            "HOME": CODE_HOME if user else "/root",
            "USER": "code" if user else "root",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            "COI_WEB_TMUX_SESSION": tmux_session_name(container),
        },
        width=cols,
        height=rows,
        user=user,
        group=user,
        cwd="/",
    )


class ShellMarker:
    """Takes the marker off the front of the stream, however it is cut into pieces."""

    __slots__ = ("_held", "shell")

    def __init__(self) -> None:
        self._held = b""
        #: None until enough has been seen to know.
        self.shell: Shell | None = None

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; returns what of it belongs to the terminal.

        Until ``shell`` is set, pieces are held back (at most the marker's length).  A stream that
        starts with anything else is passed on whole and counts as a plain shell.
        """
        if self.shell is not None:
            return data
        self._held += data
        start, end = len(_MARKER_START), len(_MARKER_START) + 1 + len(_MARKER_END)
        if self._held[:start] != _MARKER_START[: len(self._held)]:
            return self._give_up()
        if len(self._held) < end:
            return b""
        shell = _SHELLS.get(self._held[start : start + 1])
        if shell is None or self._held[start + 1 : end] != _MARKER_END:
            return self._give_up()
        self.shell = shell
        rest, self._held = self._held[end:], b""
        return rest

    def flush(self) -> bytes:
        """What is still held back when the stream ends in the middle of a marker."""
        return self._give_up() if self.shell is None else b""

    def _give_up(self) -> bytes:
        self.shell = "plain"
        held, self._held = self._held, b""
        return held
