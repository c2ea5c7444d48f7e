"""The checks of the code itself that ``./coi-web test`` runs before the suites."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from coi_web.launcher.errors import LauncherError
from coi_web.launcher.host import Host, find_program, run_streamed
from coi_web.launcher.output import Output
from coi_web.launcher.packages import install
from coi_web.launcher.paths import ROOT
from coi_web.launcher.results import Result, Timer

_LIMIT_S = 900
_NODE_LEAST = (20, 19)
_BIN = ROOT / ".venv" / "bin"
#: Values that pass the deployment check; nothing is connected to.
_PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "coi_web.settings.production",
    "COI_SECRET_KEY": hashlib.sha256(b"only for the deployment check").hexdigest(),
    "COI_AUDIT_KEY": hashlib.sha256(b"only for the deployment check, too").hexdigest(),
    "COI_DATABASE_URL": "postgresql://coi@localhost/coi",
    "COI_REDIS_URL": "redis://localhost:6379/0",
    "COI_PUBLIC_URL": "https://panel.example.org",
    "COI_ALLOWED_HOSTS": "panel.example.org",
}
_TESTING = {"DJANGO_SETTINGS_MODULE": "coi_web.settings.testing"}


@dataclass(frozen=True, slots=True)
class Gate:
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def python_gates() -> list[Gate]:
    """Longest first, so that the short ones run beside it."""
    manage = (sys.executable, str(ROOT / "manage.py"))
    return [
        Gate("mypy", (str(_BIN / "mypy"),)),
        Gate("ruff check", (str(_BIN / "ruff"), "check", "--no-cache", ".")),
        Gate("ruff format", (str(_BIN / "ruff"), "format", "--check", ".")),
        Gate("imports", (str(_BIN / "lint-imports"),)),
        Gate("migrations", (*manage, "makemigrations", "--check", "--dry-run"), _TESTING),
        Gate("check --deploy", (*manage, "check", "--deploy", "--fail-level", "WARNING"), _PRODUCTION),
        Gate(
            "API schema",
            (*manage, "spectacular", "--validate", "--fail-on-warn", "--file", os.devnull),
            _TESTING,
        ),
    ]


def asset_gates(host: Host) -> list[Gate]:
    """Lint and tests of the JavaScript, and whether static/vendor is what the lock gives.

    Installs the development packages of package-lock.json first.  Raises LauncherError where Node or
    npm is missing and may not be installed.
    """
    environment = _node_environment()
    npm = _npm(host)
    _install_node_modules(host.output, npm, environment)
    return [
        Gate("JS lint", (*npm, "run", "--silent", "lint"), environment),
        Gate("JS tests", (*npm, "test", "--silent"), environment),
        Gate("vendored assets", (*npm, "run", "--silent", "vendor:check"), environment),
    ]


def run_gates(gates: Sequence[Gate], output: Output) -> list[Result]:
    """Runs them two at a time; prints the output of those that fail."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda gate: run_gate(gate, output), gates))


def run_gate(gate: Gate, output: Output) -> Result:
    timer = Timer()
    done = run_streamed(gate.command, environment=gate.environment, cwd=ROOT, timeout_s=_LIMIT_S)
    is_ok = done.code == 0
    if is_ok:
        output.say(f"  ok  {gate.name} ({timer.seconds:.1f} s)")
    else:
        lines = "\n".join(f"    | {line}" for line in done.output.splitlines())
        output.say(f" fail {gate.name} ({timer.seconds:.1f} s)\n{lines}")
    return Result(gate.name, is_ok, timer.seconds, note="" if is_ok else f"code {done.code}")


def _node_version(program: str) -> tuple[int, ...]:
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except OSError:
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", said)[:2])


def _node_environment() -> dict[str, str]:
    """PATH with a Node that is new enough: the system's, else the one inside the Playwright package."""
    system = find_program("node")
    if system is not None and _node_version(system) >= _NODE_LEAST:
        return {}
    for bundled in (ROOT / ".venv").glob("lib/python3.*/site-packages/playwright/driver/node"):
        if _node_version(str(bundled)) >= _NODE_LEAST:
            return {"PATH": f"{bundled.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    raise LauncherError(
        "node-missing",
        "Node 20.19 or newer is missing: the JavaScript cannot be checked.",
        mend=["Install Node with npm, or leave it out with --without assets."],
    )


def _npm(host: Host) -> tuple[str, ...]:
    if find_program("npm") is None:
        install(host, ("npm",), reason="npm is needed to check the JavaScript.", code="npm-missing")
    program = find_program("npm")
    if program is None:
        raise LauncherError(
            "npm-missing", "There is no npm.", mend=["Install npm, or give --without assets."]
        )
    # Through "node", because Debian's npm names the system's own, which may be too old.
    return ("node", str(Path(program).resolve()))


def _install_node_modules(output: Output, npm: Sequence[str], environment: Mapping[str, str]) -> None:
    lock = ROOT / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = ROOT / "node_modules" / ".coi-web-lock"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    with output.step("Installing the JavaScript development packages") as step:
        command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = run_streamed(command, environment=environment, cwd=ROOT, timeout_s=_LIMIT_S)
        if done.code != 0:
            raise LauncherError(
                "npm-failed",
                "npm could not install the development packages.",
                detail=done.tail,
                mend=["Is the package registry reachable? --without assets leaves these checks out."],
            )
        stamp.write_text(digest)
        step.note = "as locked"
