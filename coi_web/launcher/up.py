"""``./coi-web up``: from whatever the machine is to a running panel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from coi_web.launcher.daemon import ensure_daemon
from coi_web.launcher.engine import STARTER, TINY, not_there
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.host import Host
from coi_web.launcher.images import ensure_starter_image, ensure_tiny_image
from coi_web.launcher.incus_rest import trusted_server
from coi_web.launcher.incus_setup import ensure_network, ensure_pool
from coi_web.launcher.lock import DataLock
from coi_web.launcher.logs import LogFile, tail
from coi_web.launcher.output import Output, seconds
from coi_web.launcher.panel import Panel
from coi_web.launcher.paths import ROOT, DataFolder
from coi_web.launcher.probe import port_is_free
from coi_web.launcher.serve import Ready, serve


@dataclass(frozen=True, slots=True)
class UpOptions:
    """``pool_size`` in bytes; None chooses by what is free."""

    panel: Panel
    assume_yes: bool = False
    may_install: bool = True
    detach: bool = False
    pool_size: int | None = None


def up(options: UpOptions, output: Output, *, started: float | None = None) -> int:
    """Makes the machine ready and runs the panel; the exit code of the command.

    Safe to repeat: what is there is used.  Raises LauncherError with what to do.
    """
    began = time.monotonic() if started is None else started
    panel = options.panel
    panel.data.make()
    lock = DataLock(panel.data.lock)
    lock.take(panel.url)
    try:
        if not port_is_free(panel.bind, panel.port):
            raise LauncherError(
                "port-taken",
                f"Another program listens on {panel.bind}:{panel.port}.",
                mend=["Choose another with --port, or stop that program (ss -ltnp shows which it is)."],
            )
        prepare_host(options, output)
    except BaseException:
        lock.release()
        raise
    if options.detach:
        return _serve_detached(panel, output, lock, began)
    return serve(
        panel, output, lock, started=began, on_ready=lambda ready: welcome(ready, output, foreground=True)
    )


def prepare_host(options: UpOptions, output: Output) -> None:
    """Incus with its pool, network and image; nothing where the environment names a remote Incus."""
    engine = options.panel.engine
    if engine.remote:
        output.say(f"  ok  Incus at {engine.remote} is used as it is")
        return
    host = Host(output, assume_yes=options.assume_yes, may_install=options.may_install)
    if engine.is_ours_to_start:
        ensure_daemon(host)
    rest = engine.client()
    trusted_server(rest)
    ensure_pool(rest, output, engine.pool, size=options.pool_size)
    ensure_network(rest, output, engine.network)
    if engine.image == TINY:
        ensure_tiny_image(host, rest)
    elif engine.image == STARTER:
        ensure_starter_image(host, rest, options.panel.data.cache)
    elif rest.find(f"/1.0/images/aliases/{quote(engine.image, safe='')}") is None:
        raise not_there("image", engine.image, "COI_DEFAULT_IMAGE")


def welcome(ready: Ready, output: Output, *, foreground: bool) -> None:
    """The last words of a start: where the panel is and how to get in."""
    output.say(f"  ok  The panel is up ({seconds(ready.seconds)})")
    output.say()
    output.say(f"    {ready.url}")
    if ready.link:
        output.say()
        output.say("  Sign in as the first administrator (the link works once):")
        output.say(f"    {ready.link}")
    output.say()
    if foreground:
        output.say("  Ctrl-C stops the panel; containers go on running.")
    else:
        output.say("  ./coi-web status, ./coi-web logs -f, ./coi-web down")


def _serve_detached(panel: Panel, output: Output, lock: DataLock, began: float) -> int:
    """Hands the lock to a process of its own, and waits until the panel answers."""
    read_end, write_end = os.pipe()
    command = [
        sys.executable, "-m", "coi_web.launcher", "serve-detached",
        "--data", str(panel.data.path), "--port", str(panel.port), "--bind", panel.bind,
        *(["--tiny"] if panel.tiny else []), "--stop-with", str(panel.stop_with),
        "--lock-descriptor", str(lock.descriptor), "--report-descriptor", str(write_end),
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock.descriptor, write_end),
        start_new_session=True,
    )
    os.close(write_end)
    lock.release()
    with output.step("Starting the panel"), os.fdopen(read_end) as report:
        text = report.read()
        if not text:
            process.wait()
            raise LauncherError(
                "start-failed",
                "The panel did not come up.",
                detail="\n".join(tail(panel.data.logs / "supervisor.log", 20)),
                mend=["./coi-web doctor, ./coi-web logs"],
            )
    said = json.loads(text)
    welcome(Ready(said["url"], said["link"], time.monotonic() - began), output, foreground=False)
    return 0


class _LogStream:
    """Lines of text into a log file that stays small; what ``Output`` needs of a stream."""

    def __init__(self, path: Path) -> None:
        self._log = LogFile(path)

    def write(self, text: str) -> int:
        self._log.write(text.encode())
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return False


def serve_detached(panel: Panel, *, lock_descriptor: int, report_descriptor: int) -> int:
    """The detached process: reports once over the pipe, then runs on; its words go into the log."""
    os.set_inheritable(report_descriptor, False)
    output = Output(_LogStream(panel.data.logs / "detached.log"))
    lock = DataLock.inherited(panel.data.lock, lock_descriptor)

    def report(ready: Ready) -> None:
        with os.fdopen(report_descriptor, "w") as pipe:
            pipe.write(json.dumps({"url": ready.url, "link": ready.link}))

    try:
        return serve(panel, output, lock, started=time.monotonic(), on_ready=report)
    except LauncherError as error:
        output.fail(error)
        # The starting process shows the end of this log.
        LogFile(panel.data.logs / "supervisor.log").write(
            f"{error.message} [{error.code}]\n{error.detail}\n".encode()
        )
        return 1


def data_folder(path: str | None) -> DataFolder:
    """The folder that ``--data`` or COI_DATA_DIR names, else ``var/`` in the checkout."""
    chosen = path or os.environ.get("COI_DATA_DIR") or str(ROOT / "var")
    return DataFolder(Path(chosen).absolute())
