"""Looking at a running panel and stopping it: ``status``, ``down``, ``logs``, ``link``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from coi_web.launcher.errors import LauncherError
from coi_web.launcher.lock import Holder, current_holder
from coi_web.launcher.logs import follow, show
from coi_web.launcher.output import Output
from coi_web.launcher.panel import Panel
from coi_web.launcher.paths import DataFolder
from coi_web.launcher.probe import ask_ready

#: Longest clean stop: the worker's grace, then the queue's, then what a kill takes.
_STOP_LIMIT_S = 30
_KILL_LIMIT_S = 10


def read_state(data: DataFolder) -> dict[str, Any]:
    """What the supervisor last wrote; empty where there is nothing."""
    try:
        state: dict[str, Any] = json.loads(data.state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state


def status(data: DataFolder, output: Output, *, as_json: bool) -> int:
    """0 where the panel runs and is ready, 1 where it runs with faults, 3 where it does not run."""
    holder = current_holder(data.lock)
    state = read_state(data) if holder is not None else {}
    answer = None
    if state:
        answer = ask_ready(str(state.get("host")), int(state.get("port", 0)), str(state.get("url")))
    is_ready = answer is not None and answer.ready
    faults = [name for name, one in state.get("processes", {}).items() if one["state"] != "running"]
    faults += answer.missing if answer is not None else (["web"] if state else [])
    if as_json:
        body = {
            "running": holder is not None,
            "ready": is_ready,
            "checks": answer.checks if answer else {},
            **{key: value for key, value in state.items() if key != "ready"},
        }
        output.say(json.dumps(body, indent=2))
    elif holder is None:
        output.say(f"The panel on {data.path} does not run. Start it with ./coi-web up.")
    else:
        _say_status(holder, state, is_ready, faults, output)
    if holder is None:
        return 3
    return 0 if is_ready and not faults else 1


def _say_status(
    holder: Holder, state: dict[str, Any], is_ready: bool, faults: list[str], output: Output
) -> None:
    word = "ready" if is_ready else ("starting" if not state.get("ready") else "not ready")
    output.say(f"{holder.url}  {word}, since {holder.since} (process {holder.pid})")
    for name, one in state.get("processes", {}).items():
        again = f", started again {one['restarts']} times" if one["restarts"] else ""
        output.say(f"  {name:<8} {one['state']:<10} {one['pid'] or '-':>7}  since {one['since']}{again}")
    if faults:
        output.say(f"Not well: {', '.join(dict.fromkeys(faults))}. See ./coi-web doctor and ./coi-web logs.")


def down(data: DataFolder, output: Output) -> int:
    """Stops the panel within bounded time; containers go on running.  0 also where it did not run."""
    holder = current_holder(data.lock)
    if holder is None:
        output.say(f"The panel on {data.path} does not run.")
        return 0
    if holder.pid <= 0:
        raise LauncherError(
            "already-running", f"Somebody holds {data.path} and does not say who.", mend=["Try again."]
        )
    with output.step("Stopping the panel") as step:
        _signal(holder, signal.SIGTERM)
        if not _released(data.lock, _STOP_LIMIT_S):
            _signal(holder, signal.SIGKILL)
            if not _released(data.lock, _KILL_LIMIT_S):
                raise LauncherError(
                    "stop-failed",
                    f"Process {holder.pid} does not end.",
                    mend=["It may hang in the kernel on a broken disk: look at dmesg."],
                )
            step.note = "it did not listen and was killed"
    return 0


def _signal(holder: Holder, number: int) -> None:
    try:
        os.kill(holder.pid, number)
    except ProcessLookupError:
        return
    except PermissionError:
        raise LauncherError(
            "not-yours",
            f"The panel is run by somebody else (process {holder.pid}).",
            mend=["sudo ./coi-web down"],
        ) from None


def _released(lock: Path, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while current_holder(lock) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def logs(data: DataFolder, name: str | None, *, lines: int, keep_following: bool) -> int:
    """Prints the end of the log of one process or of all, and goes on with ``keep_following``."""
    known = sorted(path.stem for path in data.logs.glob("*.log"))
    if name is not None and name not in known:
        raise LauncherError(
            "no-such-log",
            f"There is no log of “{name}”.",
            mend=[f"There are: {', '.join(known)}." if known else "Nothing has run here yet: ./coi-web up"],
        )
    paths = [data.logs / f"{one}.log" for one in ([name] if name else known)]
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        show(paths, lines=lines, stream=sys.stdout)
        if keep_following:
            follow(paths, stream=sys.stdout)
    return 0


def link(panel: Panel, user: str, output: Output) -> int:
    """Prints a new one-time sign-in link: for that person, else for the first administrator."""
    state = read_state(panel.data) if current_holder(panel.data.lock) else {}
    if not state.get("ready"):
        raise LauncherError("not-running", "The panel does not run.", mend=["./coi-web up"])
    chosen = user or "admin"
    spec = panel.manage("link", "first_admin_link", "--base-url", str(state["url"]), "--user", chosen)
    done = subprocess.run(
        spec.command,
        env={**os.environ, **spec.environment},
        cwd=spec.cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = next((line.strip() for line in done.stdout.splitlines() if "/sign-in/" in line), "")
    if done.returncode != 0 or not found:
        raise LauncherError(
            "no-link",
            f"No link could be made for “{chosen}”: is that the user name of somebody whose account is not disabled?",
            detail="\n".join(done.stderr.splitlines()[-1:]),
        )
    output.say(found)
    return 0
