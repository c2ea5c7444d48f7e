"""Servers that belong to one test run: a Redis and a PostgreSQL of our own, gone with the run.

Nothing of the system's is used: no cluster is started, no port is taken, no database is made in
somebody's server.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from coi_web.launcher.errors import LauncherError
from coi_web.launcher.host import find_program
from coi_web.launcher.panel import bundled_server
from coi_web.launcher.probe import queue_answers
from coi_web.launcher.process import ProcessSpec, launch

_PREFIX = "coi-web-engines-"
_START_LIMIT_S = 30


def sweep() -> None:
    """Removes the folders of test runs that were killed; their servers died with them."""
    for leftover in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = leftover.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def engine_folder() -> Iterator[Path]:
    """A short-named folder for sockets and data, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    # The database server runs as another user and must get through.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def private_redis(folder: Path) -> Iterator[str]:
    """A server on a socket of its own, without any file; gives its URL.  Raises LauncherError."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server") or bundled_server()
    if not binary:
        raise LauncherError(
            "redis-missing", "There is no Redis server.", mend=["apt-get install redis-server"]
        )
    path = folder / "redis.sock"
    command = (
        binary,
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
    )
    process = launch(ProcessSpec("redis", command))
    try:
        _await(process, lambda: queue_answers(path), "Redis")
        yield f"unix://{path}"
    finally:
        _end(process)


@contextmanager
def private_postgres(folder: Path) -> Iterator[str]:
    """A cluster of its own, without safety on disk; gives the URL of a role that may make databases.

    PostgreSQL refuses to run as root: then it runs as the user of Debian's package.  Raises LauncherError.
    """
    binaries = postgres_binaries()
    if binaries is None:
        raise LauncherError(
            "postgres-missing", "There is no PostgreSQL server.", mend=["apt-get install postgresql"]
        )
    data = folder / "pg"
    data.mkdir(mode=0o700)
    prefix = _as_unprivileged(data)
    init = [
        str(binaries / "initdb"),
        "-D",
        str(data),
        "-U",
        "coi",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
    ]
    done = subprocess.run(
        [*prefix, *init, "--no-sync"], cwd="/", capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise LauncherError("postgres-start", "initdb failed.", detail=(done.stdout + done.stderr)[-2000:])
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(data),
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "200",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = subprocess.Popen(
        [*prefix, str(binaries / "postgres"), "-D", str(data), *options],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    ready = [str(binaries / "pg_isready"), "-q", "-h", str(data), "-U", "coi"]
    try:
        _await(process, lambda: subprocess.run(ready, check=False).returncode == 0, "PostgreSQL")
        yield f"postgresql://coi@/coi?host={data}"
    finally:
        _end(process)


def postgres_binaries() -> Path | None:
    """The folder of the newest installed server."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda path: int(path.parent.name), default=None)


def _as_unprivileged(data: Path) -> list[str]:
    """Words before a command so that it runs as somebody other than root and dies with us."""
    setpriv = find_program("setpriv") or "setpriv"
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig", "KILL"]
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    os.chown(data, user.pw_uid, user.pw_gid)
    # A change of user clears the parent-death signal, so it is asked for after it, by the same program.
    identity = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    return [setpriv, *identity, "--pdeathsig", "KILL"]


def _await(process: subprocess.Popen[bytes], condition: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            said = _end(process)
            raise LauncherError(
                "engine-start", f"{name} for the tests does not come up.", detail=said[-2000:]
            )
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> str:
    """Ends a server that has nothing worth keeping; what it said."""
    process.kill()
    try:
        said, _ = process.communicate(timeout=10)
    except (subprocess.TimeoutExpired, ValueError):
        return ""
    return said.decode("utf-8", "replace")
