"""What the launcher says: steps with their progress, on a terminal or in a log.

A step that takes longer than a second shows that it is alive: a spinner with seconds on a terminal,
otherwise a line when it begins to last and one every ten seconds.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from coi_web.launcher.errors import LauncherError

#: Seconds of silence that nobody minds.
QUIET_S = 1.0
_PLAIN_EVERY_S = 10.0
_SPIN_EVERY_S = 0.12
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def seconds(duration: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``."""
    if duration < 10:
        return f"{duration:.1f} s"
    if duration < 100:
        return f"{duration:.0f} s"
    minutes, rest = divmod(int(duration), 60)
    return f"{minutes} min {rest:02d} s"


class TextSink(Protocol):
    """What is needed of a stream."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


class Step:
    """One piece of work under way; ``detail`` is what it is doing right now, ``note`` what came of it."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.note = ""
        self.started = time.monotonic()
        self.finished = threading.Event()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def line(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.title}{detail} ({seconds(self.elapsed_s)})"


class Output:
    """Writes to one stream; ``interactive`` chooses the spinner."""

    def __init__(self, stream: TextSink | None = None, *, interactive: bool | None = None) -> None:
        self.stream: TextSink = stream if stream is not None else sys.stdout
        self.interactive = self.stream.isatty() if interactive is None else interactive
        self._lock = threading.Lock()
        self._spinner_shown = False

    def say(self, text: str = "") -> None:
        """One line; a spinner that is being shown makes room for it."""
        with self._lock:
            self._clear_spinner()
            # Whoever read our words may have gone; the work goes on.
            with contextlib.suppress(OSError, ValueError):
                self.stream.write(f"{text}\n")
                self.stream.flush()

    def warn(self, text: str) -> None:
        self.say(f"  !  {text}")

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Shows the work done inside, and how it ended; errors pass through."""
        step = Step(title)
        watcher = threading.Thread(target=self._watch, args=(step,), name="progress", daemon=True)
        watcher.start()
        try:
            yield step
        except BaseException:
            self._end(step, watcher)
            self.say(f" fail {title} ({seconds(step.elapsed_s)})")
            raise
        self._end(step, watcher)
        note = f": {step.note}" if step.note else ""
        lasted = f" ({seconds(step.elapsed_s)})" if step.elapsed_s >= QUIET_S else ""
        self.say(f"  ok  {title}{note}{lasted}")

    def fail(self, error: LauncherError) -> None:
        """The whole story of an expected failure, with what to do."""
        self.say()
        self.say(f"{error.message}  [{error.code}]")
        for line in error.detail.strip().splitlines():
            self.say(f"    | {line}")
        if error.mend:
            self.say("What to do:")
        for line in error.mend:
            self.say(f"    {line}")

    def _end(self, step: Step, watcher: threading.Thread) -> None:
        step.finished.set()
        watcher.join()
        with self._lock:
            self._clear_spinner()

    def _watch(self, step: Step) -> None:
        if step.finished.wait(QUIET_S if not self.interactive else _SPIN_EVERY_S):
            return
        frame = 0
        while True:
            if self.interactive:
                self._spin(_FRAMES[frame % len(_FRAMES)], step.line())
            else:
                self.say(f"  …   {step.line()}")
            frame += 1
            if step.finished.wait(_SPIN_EVERY_S if self.interactive else _PLAIN_EVERY_S):
                return

    def _spin(self, frame: str, line: str) -> None:
        width = shutil.get_terminal_size().columns
        with self._lock, contextlib.suppress(OSError, ValueError):
            self.stream.write("\r\x1b[K" + f"  {frame}   {line}"[: width - 1])
            self.stream.flush()
            self._spinner_shown = True

    def _clear_spinner(self) -> None:
        if self._spinner_shown:
            self._spinner_shown = False
            with contextlib.suppress(OSError, ValueError):
                self.stream.write("\r\x1b[K")
