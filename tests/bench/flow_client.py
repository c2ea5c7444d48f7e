"""How the benchmark's browser acknowledges: the same arithmetic as the page's script."""

from __future__ import annotations

from sessions.terminals.protocol import ACK_EVERY_BYTES


class AckingReader:
    """Counts what was read and says when a running total is due."""

    def __init__(self) -> None:
        self._total = self._acked = 0

    def read(self, count: int) -> int | None:
        self._total += count
        if self._total - self._acked < ACK_EVERY_BYTES:
            return None
        self._acked = self._total
        return self._total
