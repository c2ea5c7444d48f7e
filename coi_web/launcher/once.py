"""A process that runs to its end beside the supervised ones."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from coi_web.launcher.process import ProcessSpec, launch, read_some

if TYPE_CHECKING:
    from coi_web.launcher.supervisor import Supervisor


class Once:
    """Collects the output of one run; ``close()`` in every case."""

    def __init__(self, supervisor: Supervisor, spec: ProcessSpec) -> None:
        self._supervisor = supervisor
        self._process = launch(spec)
        supervisor.guard("+", self._process.pid)
        self._output = bytearray()
        self.code: int | None = None
        assert self._process.stdout is not None  # a pipe was asked for
        os.set_blocking(self._process.stdout.fileno(), False)
        supervisor.register(self._process.stdout.fileno(), self._collect)

    def _collect(self) -> None:
        assert self._process.stdout is not None  # a pipe was asked for
        data = read_some(self._process.stdout.fileno())
        if data is None:
            return
        self._output += data
        if not data:
            self._supervisor.unregister(self._process.stdout.fileno())
            self.code = self._process.wait()

    def end(self) -> int:
        """The exit code; a process that still runs is killed first."""
        if self.code is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self.code = self._process.wait()
        return self.code

    def text(self) -> str:
        return self._output.decode("utf-8", "replace")

    def close(self) -> None:
        self.end()
        assert self._process.stdout is not None  # a pipe was asked for
        if not self._process.stdout.closed:
            self._supervisor.unregister(self._process.stdout.fileno())
            self._process.stdout.close()
            self._supervisor.guard("-", self._process.pid)
