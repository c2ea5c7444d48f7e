"""What travels over a terminal socket, and the limits on it.

Binary frames are terminal bytes in both directions and are never decoded here.  Text frames are
small JSON objects with a ``type``:

===========  =========  ==========================================================================
direction    type       fields
===========  =========  ==========================================================================
to server    resize     ``cols``, ``rows``: integers; brought into the allowed range
to server    ack        ``bytes``: total of terminal bytes consumed since the socket opened
to server    ping       ``id``: integer or short string, sent back as it came
to browser   ready      ``shell`` ("tmux" or "plain"), ``cols``, ``rows``: the shell is starting
to browser   pong       ``id``
to browser   state      ``state``: the session's state changed while the terminal is open
to browser   exit       ``code``: the shell ended; null when nobody knows the code
===========  =========  ==========================================================================

The browser acknowledges at least every ``ACK_EVERY_BYTES`` it has drawn, counted from the first
binary frame, and pings at least once a minute.  ``static/js/terminal/protocol.js`` is the other
half of this file; a test compares the two.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypedDict


class CloseCode(IntEnum):
    """Why the server closed a terminal.  The names are stable; the browser chooses its words by number."""

    #: The shell ended; an ``exit`` frame came before.
    NORMAL = 1000
    PROTOCOL_ERROR = 4400
    SIGNED_OUT = 4401
    FORBIDDEN = 4403
    NOT_FOUND = 4404
    STALLED = 4408
    NOT_RUNNING = 4409
    ENDED = 4410
    TOO_MANY = 4429
    INTERNAL_ERROR = 4500
    ENGINE_UNAVAILABLE = 4503

    @property
    def reason(self) -> str:
        """The machine-readable reason that goes beside the number, such as ``not-running``."""
        return self.name.lower().replace("_", "-")


#: Longest text frame.  The longest honest one is a ping of about 100 characters.
MAX_TEXT_CHARS = 1024
#: Longest frame of typed or pasted bytes; both servers refuse more than this on their own.
MAX_INPUT_BYTES = 1024 * 1024
#: The range a terminal can have.  A hidden pane reports 0, a script 100000: both are brought in here.
MIN_COLS, MAX_COLS = 2, 1000
MIN_ROWS, MAX_ROWS = 1, 1000
DEFAULT_COLS, DEFAULT_ROWS = 80, 24
#: The browser acknowledges at least this often; must stay below the window's span (see flow.py).
ACK_EVERY_BYTES = 128 * 1024
MAX_PING_ID_CHARS = 64
#: The largest integer that survives JavaScript.
MAX_SAFE_INTEGER = 2**53 - 1


class ProtocolError(Exception):
    """The other side broke the protocol; the text says how and is fit for the close reason's log."""


@dataclass(frozen=True, slots=True)
class Resize:
    cols: int
    rows: int


@dataclass(frozen=True, slots=True)
class Ack:
    total: int


@dataclass(frozen=True, slots=True)
class Ping:
    id: int | str


ClientFrame = Resize | Ack | Ping


class ReadyFrame(TypedDict):
    type: Literal["ready"]
    shell: Literal["tmux", "plain"]
    cols: int
    rows: int


class PongFrame(TypedDict):
    type: Literal["pong"]
    id: int | str


class StateFrame(TypedDict):
    type: Literal["state"]
    state: str


class ExitFrame(TypedDict):
    type: Literal["exit"]
    code: int | None


ServerFrame = ReadyFrame | PongFrame | StateFrame | ExitFrame


def parse(text: str) -> ClientFrame:
    """Read one text frame from the browser.

    Raises ProtocolError for anything that is not exactly one of the three kinds above; fields
    that are not known are ignored, so that a newer browser can talk to an older server.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise ProtocolError(f"text frame of {len(text)} characters, at most {MAX_TEXT_CHARS} are allowed")
    try:
        frame: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("text frame is not JSON") from error
    if not isinstance(frame, dict):
        raise ProtocolError("text frame is not a JSON object")
    kind = frame.get("type")
    if kind == "ack":
        return Ack(_integer(frame, "bytes", low=0, high=MAX_SAFE_INTEGER))
    if kind == "resize":
        return Resize(
            clamp_cols(_integer(frame, "cols", low=0, high=MAX_SAFE_INTEGER)),
            clamp_rows(_integer(frame, "rows", low=0, high=MAX_SAFE_INTEGER)),
        )
    if kind == "ping":
        return Ping(_ping_id(frame))
    raise ProtocolError(f"unknown frame type {str(kind)[:40]!r}")


def check_input(data: bytes) -> bytes:
    """Return a binary frame unchanged, or raise ProtocolError when it is too long."""
    if len(data) > MAX_INPUT_BYTES:
        raise ProtocolError(f"input frame of {len(data)} bytes, at most {MAX_INPUT_BYTES} are allowed")
    return data


def dump(frame: ServerFrame) -> str:
    """The text of a frame for the browser, without spaces."""
    return json.dumps(frame, separators=(",", ":"))


def clamp_cols(cols: int) -> int:
    return min(max(cols, MIN_COLS), MAX_COLS)


def clamp_rows(rows: int) -> int:
    return min(max(rows, MIN_ROWS), MAX_ROWS)


def size_from_query(cols: str | None, rows: str | None) -> tuple[int, int]:
    """The size asked for in the socket's address; what is missing or unreadable becomes 80 × 24."""
    return clamp_cols(_whole(cols, DEFAULT_COLS)), clamp_rows(_whole(rows, DEFAULT_ROWS))


def _whole(text: str | None, default: int) -> int:
    # Seven digits are far beyond any screen and keep int() cheap.
    if text is None or len(text) > 7 or not (text.isascii() and text.isdigit()):
        return default
    return int(text)


def _integer(frame: dict[str, object], name: str, *, low: int, high: int) -> int:
    value = frame.get(name)
    # bool is an int to Python, but not to the protocol.
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProtocolError(f"{name} is not an integer")
    if not low <= value <= high:
        raise ProtocolError(f"{name} is out of range")
    return value


def _ping_id(frame: dict[str, object]) -> int | str:
    value = frame.get("id")
    if isinstance(value, str):
        if len(value) > MAX_PING_ID_CHARS:
            raise ProtocolError(f"id is longer than {MAX_PING_ID_CHARS} characters")
        return value
    return _integer(frame, "id", low=-MAX_SAFE_INTEGER, high=MAX_SAFE_INTEGER)
