"""Running commands on the host: as root, through sudo, or only saying what would be run."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coi_web.launcher.errors import LauncherError
from coi_web.launcher.output import Output, Step

#: Lines of a failed command that are shown.
TAIL_LINES = 15
_END_GRACE_S = 5
#: Folders of administrators' programs that an ordinary user's PATH lacks on Debian.
_SYSTEM_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/libexec/incus", "/opt/incus/bin")


def find_program(name: str) -> str | None:
    """Where a program lies, administrators' folders included; None where it is missing."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_PATHS])
    return shutil.which(name, path=search)


def has_systemd() -> bool:
    """Whether systemd runs this machine (as opposed to merely being installed)."""
    return Path("/run/systemd/system").is_dir()


def shown(command: Sequence[str]) -> str:
    """The command as a person would type it."""
    return shlex.join(command)


@dataclass(frozen=True, slots=True)
class Completed:
    code: int
    output: str

    @property
    def tail(self) -> str:
        return "\n".join(self.output.splitlines()[-TAIL_LINES:])


def run_streamed(
    command: Sequence[str],
    *,
    on_line: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    keep_lines: int = 400,
) -> Completed:
    """Runs to the end, hands each line of the joined output over as it comes, keeps the last lines.

    After ``timeout_s`` seconds the command is killed; the code is then negative.
    """
    kept: deque[str] = deque(maxlen=keep_lines)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
        cwd=cwd,
    ) as process:
        timer = threading.Timer(timeout_s, process.kill) if timeout_s is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            assert process.stdout is not None  # a pipe was asked for
            for line in process.stdout:
                kept.append(line.rstrip("\n"))
                if on_line is not None:
                    on_line(line.rstrip("\n"))
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            if timer is not None:
                timer.cancel()
    return Completed(code, "\n".join(kept))


def _end(process: subprocess.Popen[str]) -> None:
    """Politely first: a builder has temporary files to remove."""
    process.terminate()
    try:
        process.wait(_END_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


@dataclass(slots=True)
class Host:
    """How far the launcher may go on this machine.

    ``assume_yes``: nothing is asked.  ``may_install``: False means that no command that changes the host
    is run; what would have been run is put into the error instead.
    """

    output: Output
    assume_yes: bool = False
    may_install: bool = True

    @property
    def is_root(self) -> bool:
        return os.geteuid() == 0

    def privileged(self, command: Sequence[str]) -> list[str]:
        """The command with ``sudo`` before it where we are not root."""
        if self.is_root:
            return list(command)
        return ["sudo", *command]

    def change(
        self,
        commands: Sequence[Sequence[str]],
        *,
        title: str,
        code: str,
        reason: str,
        environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        timeout_s: float = 1800,
    ) -> None:
        """Changes the host after consent: writes ``files`` (path → text), then runs ``commands`` as root.

        Raises LauncherError with the exact commands where changing is not allowed or not wanted,
        and with the end of the output where a command fails.
        """
        settings = [f"{name}={value}" for name, value in (environment or {}).items()]
        full = [
            self.privileged([*(["env", *settings] if settings else []), *command]) for command in commands
        ]
        recipe = [*_file_recipes(files or {}, root=self.is_root), *(shown(command) for command in full)]
        self._ask(recipe, code=code, reason=reason)
        with self.output.step(title) as step:
            for path, text in (files or {}).items():
                write = run_with_input(self.privileged(["tee", path]), text)
                if write.code != 0:
                    raise LauncherError(code, f"{path} could not be written.", detail=write.tail, mend=recipe)
            for command in full:
                self._run(command, step, code=code, recipe=recipe, timeout_s=timeout_s)

    def _run(
        self, command: Sequence[str], step: Step, *, code: str, recipe: Sequence[str], timeout_s: float
    ) -> None:
        def show(line: str) -> None:
            step.detail = line.strip()[:90]

        done = run_streamed(command, on_line=show, timeout_s=timeout_s)
        step.detail = ""
        if done.code != 0:
            raise LauncherError(
                code,
                f"“{shown(command)}” failed with code {done.code}.",
                detail=done.tail,
                mend=["Mend what the lines above say, then run ./coi-web up again, or run by hand:", *recipe],
            )

    def _ask(self, recipe: Sequence[str], *, code: str, reason: str) -> None:
        by_hand = [*(f"  {line}" for line in recipe), "Then run ./coi-web up again."]
        if not self.may_install:
            raise LauncherError(code, f"{reason} --no-install was given.", mend=["Run:", *by_hand])
        if not self.is_root and find_program("sudo") is None:
            raise LauncherError(
                code,
                f"{reason} That needs root, and there is no sudo here.",
                mend=["As root, run:", *by_hand],
            )
        if self.assume_yes:
            return
        if not sys.stdin.isatty():
            raise LauncherError(
                code, f"{reason} Nobody is here to ask.", mend=["Give --yes, or run by hand:", *by_hand]
            )
        self.output.say(f"\n{reason} This will be run:")
        for line in recipe:
            self.output.say(f"    {line}")
        if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            raise LauncherError(code, f"{reason} You said no.", mend=["When you are ready, run:", *by_hand])


def run_with_input(command: Sequence[str], text: str, *, timeout_s: float = 60) -> Completed:
    """Runs a short command that reads ``text``."""
    done = subprocess.run(
        command,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    return Completed(done.returncode, done.stdout)


def _file_recipes(files: Mapping[str, str], *, root: bool) -> list[str]:
    tee = "tee" if root else "sudo tee"
    return [f"{tee} {shlex.quote(path)} <<'END'\n{text}END" for path, text in files.items()]
