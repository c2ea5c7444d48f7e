"""``./coi-web test``: the quality gates and every suite, with whatever they need.

A suite whose engine is missing fails; it is left out only where ``--without`` says so, and then the end
of the output says it too.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from coi_web.launcher.daemon import ensure_daemon
from coi_web.launcher.engines import engine_folder, private_postgres, private_redis, sweep
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.gates import asset_gates, python_gates, run_gates
from coi_web.launcher.host import Host, find_program, run_streamed
from coi_web.launcher.output import Output
from coi_web.launcher.packages import install, install_incus, testing_packages
from coi_web.launcher.paths import ROOT
from coi_web.launcher.process import raise_terminated, run_attached
from coi_web.launcher.results import Counts, Result, Timer, read_counts, table

PARTS = ("gates", "assets", "unit", "postgres", "incus", "browser")
_NO_TESTS = 5


def run_tests(output: Output, *, assume_yes: bool, without: str, pytest_arguments: Sequence[str]) -> int:
    """Runs everything, going on after failures; 0 only where nothing failed.

    ``without``: comma-separated names of PARTS.  Arguments that are paths choose tests: then only those
    run, without gates.  Raises LauncherError for an unknown part.
    """
    excluded = [part.strip() for part in without.split(",") if part.strip()]
    unknown = sorted(set(excluded) - set(PARTS))
    if unknown:
        raise LauncherError(
            "unknown-part",
            f"--without does not know {', '.join(unknown)}.",
            mend=[f"It knows: {', '.join(PARTS)}."],
        )
    signal.signal(signal.SIGTERM, raise_terminated)
    host = Host(output, assume_yes=assume_yes)
    install_development_packages(output)
    left_out = [f"{part}, because of --without {without}" for part in excluded]
    paths = [argument for argument in pytest_arguments if _is_test_path(argument)]
    wanted = [part for part in PARTS if part not in excluded]
    if paths:
        wanted = _parts_of(paths)
        left_out = ["everything but the tests that were named"]
    results: list[Result] = []
    sweep()
    _install_host_packages(host, wanted, results)
    if "gates" in wanted:
        results += run_gates(python_gates(), output)
    if "assets" in wanted:
        results += _guarded("assets", output, lambda: run_gates(asset_gates(host), output))
    with ExitStack() as stack:
        folder = stack.enter_context(engine_folder())
        redis = stack.enter_context(private_redis(folder))
        runner = Suites(folder, output, pytest_arguments, {"COI_TEST_REDIS_URL": redis})
        if "unit" in wanted:
            chosen = [path for path in paths if _part_of(path) == "unit"]
            results.append(
                runner.run("unit and web on SQLite", chosen or ["tests/unit", "tests/web"], side_by_side=True)
            )
        if "postgres" in wanted:
            results += _guarded("PostgreSQL", output, lambda: [_postgres_run(runner, folder)])
        if "incus" in wanted:
            results += _guarded("Incus", output, lambda: [_incus_run(runner, host, paths)])
        if "browser" in wanted:
            results += _guarded("browser", output, lambda: [_browser_run(runner, host, paths)])
    for line in table(results, left_out):
        output.say(line)
    return 0 if results and all(result.is_ok for result in results) else 1


def install_development_packages(output: Output) -> None:
    """Installs requirements/dev.txt into .venv unless its stamp says that it is there."""
    lock = ROOT / "requirements" / "dev.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = ROOT / ".venv" / "development.sha256"
    if stamp.is_file() and stamp.read_text().strip() == digest:
        return
    with output.step("Installing the development packages"):
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-q"]
        done = run_streamed([*pip, "--require-hashes", "--no-deps", "-r", str(lock)], timeout_s=1800)
        if done.code != 0:
            raise LauncherError(
                "pip-failed", "pip could not install the development packages.", detail=done.tail,
                mend=["Is the package index reachable? See the lines above."],
            )  # fmt: skip
        stamp.write_text(digest)


class Suites:
    """Runs pytest, each time in a process of its own: Playwright leaves an event loop behind that async tests
    after it cannot live with."""

    def __init__(
        self, folder: Path, output: Output, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._output = output
        self._arguments = [one for one in arguments if not _is_test_path(one)]
        self._environment = environment
        self._number = 0

    def run(
        self,
        name: str,
        paths: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        side_by_side: bool = False,
    ) -> Result:
        """``side_by_side``: on all cores; for suites whose tests share nothing."""
        self._number += 1
        report = self._folder / f"report-{self._number}.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *self._arguments, *paths]
        if side_by_side:
            command += ["-n", str(os.cpu_count() or 1), "--dist", "worksteal"]
        self._output.say(f"\n{name}")
        timer = Timer()
        own = {key: value for key, value in os.environ.items() if not key.startswith("COI_") or "TEST" in key}
        code = run_attached(command, {**own, **self._environment, **(environment or {})})
        return self._judge(name, code, read_counts(report), timer.seconds)

    def _judge(self, name: str, code: int, counts: Counts | None, seconds: float) -> Result:
        found = counts or Counts()
        if code == _NO_TESTS and self._arguments:
            return Result(name, True, seconds, "none chosen", found)
        notes = [f"{found.passed} passed"]
        if found.failed:
            notes.append(f"{found.failed} failed")
        if found.skipped:
            notes.append(f"{found.skipped} skipped: a skipped test shows nothing")
        if counts is None or (code != 0 and not found.failed):
            notes = [f"pytest ended with code {code}"]
        return Result(name, code == 0 and not found.skipped, seconds, ", ".join(notes), found)


def _postgres_run(runner: Suites, folder: Path) -> Result:
    with private_postgres(folder) as url:
        return runner.run(
            "unit and web on PostgreSQL",
            ["tests/unit", "tests/web"],
            {"COI_TEST_DATABASE_URL": url},
            side_by_side=True,
        )


def _incus_run(runner: Suites, host: Host, paths: Sequence[str]) -> Result:
    ensure_daemon(host)
    return runner.run("Incus", _below("tests/incus", paths))


def _browser_run(runner: Suites, host: Host, paths: Sequence[str]) -> Result:
    ensure_daemon(host)
    if find_program("chromium") is None and find_program("chromium-browser") is None:
        raise LauncherError("chromium-missing", "There is no Chromium.", mend=["apt-get install chromium"])
    return runner.run("browser", _below("tests/browser", paths))


def _below(folder: str, paths: Sequence[str]) -> list[str]:
    return [path for path in paths if path.startswith(folder)] or [folder]


def _guarded(name: str, output: Output, work: Callable[[], list[Result]]) -> list[Result]:
    """A step whose needs are not there is a failed step, and the others go on."""
    timer = Timer()
    try:
        return work()
    except LauncherError as error:
        output.fail(error)
        return [Result(name, False, timer.seconds, error.code)]


def _install_host_packages(host: Host, wanted: Sequence[str], results: list[Result]) -> None:
    needs = {"chromium": "browser", "chromium-browser": "browser", "postgresql": "postgres"}
    names = [name for name in testing_packages() if name not in needs or needs[name] in wanted]
    present = {"chromium": find_program("chromium"), "redis-server": find_program("redis-server")}
    names = [name for name in names if not present.get(name)]
    if names:
        results += _guarded("host packages", host.output, lambda: _host_packages(host, names))
    if "incus" in wanted or "browser" in wanted:
        results += _guarded("Incus packages", host.output, lambda: _incus_packages(host))


def _host_packages(host: Host, names: Sequence[str]) -> list[Result]:
    install(host, names, reason="The tests need programs that are missing.", code="packages-missing")
    return []


def _incus_packages(host: Host) -> list[Result]:
    if find_program("incusd") is None or find_program("busybox") is None:
        install_incus(host)
    return []


def _is_test_path(argument: str) -> bool:
    return argument.startswith("tests") and (ROOT / argument.split("::")[0]).exists()


def _parts_of(paths: Sequence[str]) -> list[str]:
    found = {_part_of(path) for path in paths}
    return [part for part in PARTS if part in found]


def _part_of(path: str) -> str:
    return next((part for part in ("incus", "browser") if path.startswith(f"tests/{part}")), "unit")
