"""Runs a set of processes until told to stop, and brings back those that die.

One thread, one loop: see ``process.launch`` for why children come from the main thread and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from coi_web.launcher.logs import LogFile
from coi_web.launcher.once import Once
from coi_web.launcher.process import (
    Child,
    ProcessSpec,
    RestartPolicy,
    describe_exit,
    launch,
    now_text,
    read_some,
    swallow,
)

_GUARD = Path(__file__).with_name("guard.py")
#: Longest sleep of the loop; an event wakes it at once.
_TICK_S = 0.1


class Supervisor:
    """Use from the main thread: ``start()`` each process, then ``run()``; ``stop()`` in every case.

    ``announce`` gets one line per event worth a person's attention.
    """

    def __init__(
        self,
        *,
        log_folder: Path,
        announce: Callable[[str], None],
        state_file: Path | None = None,
        policy: RestartPolicy | None = None,
    ) -> None:
        self._log_folder = log_folder
        self._announce = announce
        self._state_file = state_file
        self._policy = policy or RestartPolicy()
        self._selector = selectors.DefaultSelector()
        self._children: dict[str, Child] = {}
        self._guard = self._start_guard()
        self._stopping = self._stopped = False
        self._state_changed = True
        self._periodic: list[Callable[[float], None]] = []
        #: Facts for ``status``, such as the URL; call ``note()`` to set them.
        self._facts: dict[str, object] = {"pid": os.getpid(), "since": now_text(), "ready": False}
        self.stop_requested = False

    # -- starting -----------------------------------------------------------------------------------

    def start(self, spec: ProcessSpec) -> Child:
        """Starts a process that is to be kept running."""
        child = Child(spec, LogFile(self._log_folder / f"{spec.name}.log"))
        self._children[spec.name] = child
        self._spawn(child)
        return child

    def run_once(self, spec: ProcessSpec, *, timeout_s: float) -> tuple[int, str]:
        """Runs a process to its end while the others are looked after; its code and all of its output.

        After ``timeout_s`` seconds it is killed, and the code is negative.  Also ends when a stop is
        requested.
        """
        with contextlib.closing(self.begin_once(spec)) as once:
            deadline = time.monotonic() + timeout_s
            while once.code is None and time.monotonic() < deadline and not self.stop_requested:
                self.pump()
            return once.end(), once.text()

    def begin_once(self, spec: ProcessSpec) -> Once:
        """Starts a process that runs once, beside the others; its output is collected by ``pump()``."""
        return Once(self, spec)

    def _spawn(self, child: Child) -> None:
        child.process = launch(child.spec)
        self.guard("+", child.process.pid)
        child.pidfd = os.pidfd_open(child.process.pid)
        child.started_at = time.monotonic()
        child.since = now_text()
        child.restart_at = None
        assert child.process.stdout is not None  # a pipe was asked for
        os.set_blocking(child.process.stdout.fileno(), False)
        self._selector.register(child.process.stdout, selectors.EVENT_READ, lambda: self._drain(child))
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._reap(child))
        self._state_changed = True

    def _start_guard(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def guard(self, sign: str, group: int) -> None:
        """Tells the guard about a process group; without a guard the kernel's signal alone must do."""
        with contextlib.suppress(OSError):
            assert self._guard.stdin is not None  # a pipe was asked for
            self._guard.stdin.write(f"{sign}{group}\n".encode())
            self._guard.stdin.flush()

    # -- the loop -----------------------------------------------------------------------------------

    def handle_signals(self) -> None:
        """SIGTERM, SIGINT and SIGHUP ask for a stop; a second one kills what is still there."""
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        self._selector.register(read_end, selectors.EVENT_READ, lambda: swallow(read_end))

        def request(number: int, frame: object) -> None:
            if self.stop_requested:
                self._kill_all()
            self.stop_requested = True

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, request)

    def stop_with(self, pid: int) -> None:
        """Asks for a stop as soon as that process ends; at once where it has ended."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self.stop_requested = True
            return

        def ended() -> None:
            self.unregister(descriptor)
            os.close(descriptor)
            self._announce(f"process {pid} has ended, and we were told to stop with it")
            self.stop_requested = True

        self.register(descriptor, ended)

    def every_tick(self, look: Callable[[float], None]) -> None:
        """Calls ``look(monotonic seconds)`` about ten times a second; it must return at once."""
        self._periodic.append(look)

    def register(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def unregister(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    def pump(self, wait_s: float = _TICK_S) -> None:
        """One turn of the loop: output, deaths, restarts that are due."""
        for key, _ in self._selector.select(wait_s):
            key.data()
        now = time.monotonic()
        if not self._stopping:
            for child in self._children.values():
                if child.restart_at is not None and now >= child.restart_at:
                    child.restarts += 1
                    self._spawn(child)
                elif child.deaths and child.process and now - child.started_at > self._policy.calm_s:
                    child.deaths = 0
            for look in self._periodic:
                look(now)
        if self._state_changed:
            self._write_state()

    def wait_for(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        """Pumps until the condition holds; False at the deadline or when a stop is requested."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline or self.stop_requested:
                return False
            self.pump(0.03)
        return True

    def run(self) -> None:
        """Looks after the processes until a stop is requested."""
        while not self.stop_requested:
            self.pump()

    def children(self) -> Mapping[str, Child]:
        return self._children

    # -- deaths -------------------------------------------------------------------------------------

    def _drain(self, child: Child) -> None:
        if child.process is None:
            # Its death was seen earlier in the same turn, and its last words were read then.
            return
        assert child.process.stdout is not None  # a pipe was asked for
        data = read_some(child.process.stdout.fileno())
        if data is None:
            return
        if not data:
            self.unregister(child.process.stdout.fileno())
            return
        child.log.write(data)
        child.recent.extend(data.splitlines(keepends=True))

    def _reap(self, child: Child) -> None:
        process = child.process
        assert process is not None and process.stdout is not None  # registered, so there
        code = process.wait()
        # What it started belongs to it, and would keep its pipe and its port.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        self.guard("-", process.pid)
        self.unregister(child.pidfd)
        os.close(child.pidfd)
        while data := read_some(process.stdout.fileno()):
            child.log.write(data)
            child.recent.extend(data.splitlines(keepends=True))
        self.unregister(process.stdout.fileno())
        process.stdout.close()
        child.process = None
        self._state_changed = True
        if self._stopping:
            return
        if time.monotonic() - child.started_at > self._policy.calm_s:
            child.deaths = 0
        child.deaths += 1
        delay = self._policy.delay_s(child.deaths)
        child.restart_at = time.monotonic() + delay
        message = f"{child.spec.name} {describe_exit(code)}; starting it again in {delay:g} s"
        child.log.write(f"--- {now_text()} supervisor: {message}\n".encode())
        last = child.tail().strip().splitlines()[-1:] if code > 0 else []
        self._announce(message + (f" (last words: {last[0].strip()[:200]})" if last else ""))

    # -- stopping -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ends everything within the processes' grace; kills what does not listen.  Safe to repeat."""
        if self._stopped:
            return
        self._stopping = self._stopped = True
        for last in (False, True):
            group = [child for child in self._children.values() if child.spec.stop_last is last]
            self._stop_group(group)
        with contextlib.suppress(OSError):
            assert self._guard.stdin is not None  # a pipe was asked for
            self._guard.stdin.write(b"bye\n")
            self._guard.stdin.close()
        self._guard.wait()
        for child in self._children.values():
            child.log.close()
        self._children.clear()
        self._selector.close()
        if self._state_file is not None:
            self._state_file.unlink(missing_ok=True)

    def _stop_group(self, group: Iterable[Child]) -> None:
        waiting = [child for child in group if child.process is not None]
        started = time.monotonic()
        for child in waiting:
            assert child.process is not None  # filtered above
            child.process.send_signal(child.spec.stop_signal)
        killed: set[str] = set()
        while waiting := [child for child in waiting if child.process is not None]:
            for child in waiting:
                late = time.monotonic() - started > child.spec.stop_grace_s
                if late and child.spec.name not in killed:
                    killed.add(child.spec.name)
                    self._announce(
                        f"{child.spec.name} did not stop within {child.spec.stop_grace_s:g} s: killed"
                    )
                    self._kill(child)
            self.pump(0.05)

    def _kill(self, child: Child) -> None:
        if child.process is not None:
            with contextlib.suppress(OSError):
                os.killpg(child.process.pid, signal.SIGKILL)

    def _kill_all(self) -> None:
        for child in self._children.values():
            self._kill(child)

    # -- what status reads --------------------------------------------------------------------------

    def note(self, **facts: object) -> None:
        """Adds facts to the state file."""
        self._facts.update(facts)
        self._state_changed = True

    def _write_state(self) -> None:
        self._state_changed = False
        if self._state_file is None:
            return
        processes = {name: child.facts() for name, child in self._children.items()}
        partial = self._state_file.with_name(f".{self._state_file.name}")
        try:
            partial.write_text(
                json.dumps({**self._facts, "processes": processes}, indent=2), encoding="utf-8"
            )
            partial.replace(self._state_file)
        except OSError as error:
            # A full disk must not end the supervisor; status is then out of date.
            self._announce(f"the state file cannot be written: {error.strerror}")
