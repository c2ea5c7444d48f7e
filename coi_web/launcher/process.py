"""One supervised process: how to run it, how it is doing, when to try again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coi_web.launcher.logs import LogFile
from coi_web.launcher.paths import ROOT

_WRAPPER = Path(__file__).with_name("child.py")
_READ_BYTES = 65536
_TAIL_LINES = 8
#: Seconds that an interrupted test run has for its fixtures.
_CLEAN_UP_S = 60


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How to run one process.

    ``stop_grace_s``: seconds between the polite signal and the kill.  ``stop_last``: stopped after the
    others have ended, because they need it until then.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    stop_grace_s: float = 8.0
    stop_last: bool = False
    cwd: Path = ROOT


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Seconds to wait before a restart: doubling from ``first_s`` to ``most_s``, new after a calm ``calm_s``."""

    first_s: float = 0.5
    most_s: float = 30.0
    calm_s: float = 60.0

    def delay_s(self, deaths: int) -> float:
        """The wait after that many deaths in a row (from 1)."""
        return min(self.most_s, self.first_s * 2.0 ** min(deaths - 1, 30))


class Child:
    """One process and what we know of it."""

    def __init__(self, spec: ProcessSpec, log: LogFile) -> None:
        self.spec = spec
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.started_at = 0.0
        self.since = ""
        #: Deaths in a row; back to 0 after a calm time.
        self.deaths = 0
        self.restarts = 0
        self.restart_at: float | None = None
        self.recent: deque[bytes] = deque(maxlen=_TAIL_LINES)

    @property
    def state(self) -> str:
        if self.process is not None:
            return "running"
        return "restarting" if self.restart_at is not None else "ended"

    def facts(self) -> dict[str, object]:
        """What ``status`` shows of it."""
        pid = self.process.pid if self.process else None
        return {"state": self.state, "pid": pid, "since": self.since, "restarts": self.restarts}

    def tail(self) -> str:
        return b"".join(self.recent).decode("utf-8", "replace")


def launch(spec: ProcessSpec) -> subprocess.Popen[bytes]:
    """Starts the command in a session of its own that the kernel kills when we die.

    From the main thread only: the kernel's parent-death signal fires when the *thread* that started a
    child ends.
    """
    assert threading.current_thread() is threading.main_thread(), "see the docstring"
    wrapper = (sys.executable, "-I", "-S", str(_WRAPPER), str(os.getpid()))
    return subprocess.Popen(
        [*wrapper, *spec.command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **spec.environment},
        cwd=spec.cwd,
        start_new_session=True,
    )


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: what is under way is cleaned up as after Ctrl-C."""


def raise_terminated(number: int, frame: object) -> None:
    """A handler for SIGTERM."""
    raise Terminated


def run_attached(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs a command on our own terminal and waits for it; it gets time to clean up and never outlives us.

    Ctrl-C reaches it by itself, SIGTERM is passed on as the interrupt that it understands.
    """
    wrapper = (sys.executable, "-I", "-S", str(_WRAPPER), str(os.getpid()))
    with subprocess.Popen([*wrapper, *command], cwd=ROOT, env=environment) as process:
        try:
            return process.wait()
        except KeyboardInterrupt as interrupt:
            if isinstance(interrupt, Terminated):
                process.send_signal(signal.SIGINT)
            try:
                process.wait(_CLEAN_UP_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def describe_exit(code: int) -> str:
    """``ended with code 3``, ``was ended by SIGKILL``."""
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with code {code}"


def read_some(descriptor: int) -> bytes | None:
    """What is there to read; empty at the end, None where nothing is there yet."""
    try:
        return os.read(descriptor, _READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def swallow(descriptor: int) -> None:
    while read_some(descriptor):
        continue


def now_text() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
