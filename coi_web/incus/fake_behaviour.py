"""How the fake engine misbehaves on demand."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

from coi_web.errors import IncusError
from coi_web.incus import errors

#: What a call that never answers really takes in a test, at most.
PATIENCE_S = 0.05


@dataclass(slots=True)
class Behaviour:
    """One way of misbehaving; ``times`` counts down, None lasts until ``behave_well``."""

    slow_s: float = 0.0
    never: bool = False
    fails: IncusError | type[IncusError] | None = None
    fails_late: bool = False
    vanishes: bool = False
    times: int | None = None


class Misbehaviour:
    """The switches, shared by all threads and loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_call: dict[str, Behaviour] = {}
        self._released = threading.Event()
        #: Every call and what it was about, in order.
        self.calls: list[tuple[str, str]] = []

    def set(self, call: str, behaviour: Behaviour) -> None:
        with self._lock:
            self._by_call[call] = behaviour
            self._released.clear()

    def clear(self, call: str | None) -> None:
        """Back to good behaviour, for one call or all; slow and silent calls end at once."""
        with self._lock:
            if call is None:
                self._by_call.clear()
            else:
                self._by_call.pop(call, None)
            self._released.set()

    def take(self, call: str, target: str) -> Behaviour | None:
        with self._lock:
            self.calls.append((call, target))
            behaviour = self._by_call.get(call)
            if behaviour is not None and behaviour.times is not None:
                behaviour.times -= 1
                if behaviour.times <= 0:
                    del self._by_call[call]
            return behaviour

    def wait(self, behaviour: Behaviour, timeout_s: float, *, doing: str) -> None:
        """Blocks as long as the behaviour says; raises IncusTimedOut at the call's limit."""
        pause = self._pause(behaviour, timeout_s)
        if pause:
            self._released.wait(pause)
        self._refuse(behaviour, timeout_s, doing=doing)

    async def wait_on_loop(self, behaviour: Behaviour, timeout_s: float, *, doing: str) -> None:
        deadline = asyncio.get_running_loop().time() + self._pause(behaviour, timeout_s)
        while not self._released.is_set() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            # The switch is shared with threads, hence no asyncio event.
            await asyncio.sleep(0.005)
        self._refuse(behaviour, timeout_s, doing=doing)

    @staticmethod
    def _pause(behaviour: Behaviour, timeout_s: float) -> float:
        if behaviour.never:
            return min(timeout_s, PATIENCE_S)
        return min(behaviour.slow_s, timeout_s)

    def _refuse(self, behaviour: Behaviour, timeout_s: float, *, doing: str) -> None:
        too_slow = behaviour.slow_s > timeout_s and not self._released.is_set()
        if behaviour.never or too_slow:
            raise errors.timed_out(timeout_s, doing=doing)
        if behaviour.fails is not None and not behaviour.fails_late:
            raise failure(behaviour, timeout_s, doing=doing)


def failure(behaviour: Behaviour, timeout_s: float, *, doing: str) -> IncusError:
    """The error the behaviour asks for; a late failure without one is a lost answer."""
    if isinstance(behaviour.fails, IncusError):
        return behaviour.fails
    if behaviour.fails is None:
        return errors.timed_out(timeout_s, doing=doing)
    return behaviour.fails(
        f"Could not {doing}: the fake engine was told to fail.", log_detail=f"{doing}: fake"
    )
