"""The command line of ``./coi-web``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from http.client import HTTPException

from coi_web.launcher import control
from coi_web.launcher.daemon import ensure_daemon
from coi_web.launcher.doctor import doctor
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.host import Host
from coi_web.launcher.incus_rest import IncusRefused
from coi_web.launcher.output import Output
from coi_web.launcher.panel import DEFAULT_PORT, Panel
from coi_web.launcher.paths import ROOT
from coi_web.launcher.remove import remove
from coi_web.launcher.sizes import parse_size
from coi_web.launcher.testing import install_development_packages, run_tests
from coi_web.launcher.up import UpOptions, data_folder, serve_detached, up

#: Exit code of a LauncherError; 2 is argparse's own.
FAILED = 1
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Runs one command; its exit code."""
    started = time.monotonic()
    output = Output()
    options, rest = _parse(arguments)
    try:
        return _run(options, rest, output, started)
    except LauncherError as error:
        Output(sys.stderr).fail(error)
        return FAILED
    except IncusRefused as refusal:
        Output(sys.stderr).fail(
            LauncherError(
                "incus-refused", f"Incus refused: {refusal.message}", mend=["./coi-web doctor looks further."]
            )
        )
        return FAILED
    except (ConnectionError, TimeoutError, HTTPException) as error:
        Output(sys.stderr).fail(
            LauncherError(
                "incus-silent", f"Incus stopped answering: {error}", mend=["Run the command again."]
            )
        )
        return FAILED
    except KeyboardInterrupt:
        Output(sys.stderr).say("\nInterrupted. What was done stays; run the command again to go on.")
        return INTERRUPTED


def _run(options: argparse.Namespace, rest: Sequence[str], output: Output, started: float) -> int:
    command = options.command
    if command == "test":
        return run_tests(output, assume_yes=options.yes, without=options.without, pytest_arguments=rest)
    if command == "bench":
        return _bench(output, options.name, rest)
    data = data_folder(options.data)
    if command == "status":
        return control.status(data, output, as_json=options.json)
    if command == "down":
        return control.down(data, output)
    if command == "logs":
        return control.logs(data, options.process, lines=options.lines, keep_following=options.follow)
    if command == "link":
        return control.link(_panel(options), options.user, output)
    if command == "doctor":
        return doctor(_panel(options), output, as_json=options.json)
    if command == "remove":
        return remove(data, output, confirmed=options.confirm)
    panel = _panel(options)
    if command == "serve-detached":
        return serve_detached(
            panel, lock_descriptor=options.lock_descriptor, report_descriptor=options.report_descriptor
        )
    return up(
        UpOptions(
            panel=panel,
            assume_yes=options.yes,
            may_install=not options.no_install,
            detach=options.detach,
            pool_size=options.pool_size,
        ),
        output,
        started=started,
    )


def _panel(options: argparse.Namespace) -> Panel:
    data = data_folder(options.data)
    if options.command in ("doctor", "link"):
        state = control.read_state(data)
        return Panel(
            data,
            port=int(state.get("port", DEFAULT_PORT)),
            bind=str(state.get("host", "127.0.0.1")),
            tiny=bool(state.get("tiny")),
        )
    return Panel(data, port=options.port, bind=options.bind, tiny=options.tiny, stop_with=options.stop_with)


def _bench(output: Output, name: str, rest: Sequence[str]) -> int:
    install_development_packages(output)
    ensure_daemon(Host(output))
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", name, *rest], cwd=ROOT, check=False
    ).returncode


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="./coi-web", description="COI Web: the panel on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, about: str, *, data: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        if data:
            made.add_argument("--data", metavar="DIR", help="data folder (default: var/)")
        return made

    start = command("up", "make this machine ready and run the panel")
    start.add_argument("--yes", action="store_true", help="ask nothing")
    start.add_argument(
        "--no-install", action="store_true", help="change nothing on the host; print the commands"
    )
    start.add_argument("--detach", action="store_true", help="run in the background")
    start.add_argument(
        "--pool-size", type=_size, metavar="SIZE", help="size of the storage pool, such as 50GiB"
    )
    _add_panel_options(start)
    detached = commands.add_parser("serve-detached")
    detached.add_argument("--data")
    detached.add_argument("--lock-descriptor", type=int, required=True)
    detached.add_argument("--report-descriptor", type=int, required=True)
    _add_panel_options(detached)

    command("down", "stop the panel; containers go on running")
    command("status", "what runs, since when, at which address").add_argument("--json", action="store_true")
    log = command("logs", "the end of the logs")
    log.add_argument(
        "process", nargs="?", help="supervisor, redis, web, worker, beat or agent (default: all)"
    )
    log.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    log.add_argument("-n", "--lines", type=int, default=20)
    command("link", "a new one-time sign-in link").add_argument("user", nargs="?", default="")
    command("doctor", "look at everything, say what is wrong and how to mend it").add_argument(
        "--json", action="store_true"
    )
    command("remove", "delete our containers, volumes, images, network and pool").add_argument(
        "--confirm", default="", metavar="WORD", help="the word that would be asked for"
    )
    tests = command("test", "run all checks and tests; further arguments go to pytest", data=False)
    tests.add_argument("--yes", action="store_true", help="install what is missing without asking")
    tests.add_argument("--without", default="", metavar="incus,browser", help="leave these out, and say so")
    bench = command("bench", "measure, such as: bench terminal", data=False)
    bench.add_argument("name")

    options, rest = parser.parse_known_args(arguments)
    if rest and options.command not in ("test", "bench"):
        parser.error(f"unknown: {' '.join(rest)}")
    return options, rest


def _add_panel_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT)
    parser.add_argument("--bind", default=os.environ.get("COI_BIND") or "127.0.0.1", metavar="ADDRESS")
    parser.add_argument(
        "--stop-with", type=int, default=0, metavar="PID", help="stop when that process ends (for scripts)"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="sessions start from a 1 MB image: to try the panel"
    )


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"“{text}” is no port: 1 to 65535")
    return int(text)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
