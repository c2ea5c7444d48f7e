"""How much terminal output may be on its way to a browser: the arithmetic of the window.

A browser offers no backpressure of its own: whatever arrives is queued in memory until xterm.js has
drawn it, and some servers never wait when sending.  So the browser says how many bytes it has
drawn, and no more than ``HIGH_BYTES`` are ever on their way.
"""

from __future__ import annotations

#: Never more than this un-acknowledged.  1 MiB is 15 ms of a full-speed flood on the same machine
#: and 80 ms of a 100 Mbit/s line, so it slows neither, and it is what one stalled tab can cost.
HIGH_BYTES = 1024 * 1024
#: Having stopped, go on below this: one long pause is cheaper than many short ones.
LOW_BYTES = HIGH_BYTES // 2


class AckBeyondSent(Exception):
    """The browser acknowledged bytes that were never sent."""


class Window:
    """Counts what was sent and what came back.  All figures are bytes since the socket opened."""

    __slots__ = ("_high", "_low", "_open", "acked", "sent")

    def __init__(self, high: int = HIGH_BYTES, low: int = LOW_BYTES) -> None:
        if not 0 <= low < high:
            raise ValueError(f"low mark {low} must lie between 0 and the high mark {high}")
        self._high = high
        self._low = low
        self._open = True
        self.sent = 0
        self.acked = 0

    @property
    def unacked(self) -> int:
        return self.sent - self.acked

    @property
    def room(self) -> int:
        """How many bytes may be sent now; 0 from reaching the high mark until falling to the low one."""
        return self._high - self.unacked if self._open else 0

    def on_sent(self, count: int) -> None:
        self.sent += count
        if self.unacked >= self._high:
            self._open = False

    def on_ack(self, total: int) -> bool:
        """Take the browser's running total; returns whether it says anything new.

        A total below an earlier one is old news and changes nothing.  Raises AckBeyondSent
        for one above what was sent.  A browser that acknowledges what it has not read gains
        nothing but a fuller socket: sending waits there (see bridge.py and daphne.py).
        """
        if total > self.sent:
            raise AckBeyondSent(f"acknowledged {total} bytes, {self.sent} were sent")
        if total <= self.acked:
            return False
        self.acked = total
        if self.unacked <= self._low:
            self._open = True
        return True


#: More than this per second, beyond one burst (a redrawn screen), is a flood.
FLOOD_BYTES_PER_S = 1_000_000
BURST_BYTES = 32 * 1024
#: A flood gathers this long, or until a frame is full: no eye sees it, and each send costs some 0.1 ms.
GATHER_S = 0.004
#: While somebody types elsewhere a flood slows down to FLOOD_BYTES_PER_S, in pieces of this size.  On a
#: machine of two cores a flood at full speed takes all of it, and keystrokes next door took 15 ms.
GIVE_WAY_BYTES = 16 * 1024
GIVE_WAY_S = GIVE_WAY_BYTES / FLOOD_BYTES_PER_S
#: "While" means this long after the last keystroke.
TYPING_S = 1.0


class Typists:
    """Who typed last, so that floods can give way to typing in the terminals beside them.

    A flood at full speed keeps the engine, the program and the browser busy, on a small machine all
    of it; a keystroke next door then waits for its turn in each of them.  Keeps the two latest
    typists: the one that floods itself does not count.
    """

    __slots__ = ("_latest", "_latest_at", "_other_at")

    def __init__(self) -> None:
        self._latest: object = None
        self._latest_at = self._other_at = float("-inf")

    def typed(self, who: object, now: float) -> None:
        if who is not self._latest:
            self._latest, self._other_at = who, self._latest_at
        self._latest_at = now

    def others_type(self, who: object, now: float) -> bool:
        return now - (self._other_at if who is self._latest else self._latest_at) < TYPING_S


class Pace:
    """Tells a flood from a screen: small output goes at once, a flood in full frames."""

    __slots__ = ("_at", "_credit")

    def __init__(self) -> None:
        self._credit = float(BURST_BYTES)
        self._at = float("-inf")

    def is_flood(self, count: int, now: float) -> bool:
        """Take note of ``count`` bytes sent at ``now`` (seconds); whether they are part of a flood."""
        earned = (now - self._at) * FLOOD_BYTES_PER_S
        self._credit = max(min(self._credit + earned, BURST_BYTES) - count, 0.0)
        self._at = now
        return self._credit == 0.0
