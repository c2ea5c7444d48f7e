"""A whole panel for tests: the launcher's own processes on a free port, inside the lab's Incus project."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"
T = TypeVar("T")


def wait_for(what: str, condition: Callable[[], T], *, timeout_s: float = 30.0) -> T:
    """The first true value of ``condition``; fails with what was seen last."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = condition()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_s:.0f} s; last seen: {seen!r}")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class RunningPanel:
    """Started with ``start()``; ``stop()`` is safe to repeat and leaves no process behind.

    ``environment`` names the lab's Incus project, pool, network and prefix.
    """

    data: Path
    environment: Mapping[str, str]
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> str:
        """Run ``./coi-web up``; returns what it said. The panel ends with this process, even one that is killed."""
        options = ("--yes", "--no-install", "--tiny", "--detach", "--port", str(self.port))
        done = self.launcher("up", *options, "--stop-with", str(os.getpid()), timeout_s=90)
        assert done.returncode == 0, f"up failed:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def stop(self) -> None:
        self.launcher("down", timeout_s=60)

    def launcher(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        command, *rest = arguments
        return subprocess.run(
            [sys.executable, "-m", "coi_web.launcher", command, "--data", str(self.data), *rest],
            cwd=ROOT,
            env=self.full_environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def full_environment(self) -> dict[str, str]:
        """Ours without what the suite itself runs with."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COI_", "DJANGO_"))}
        return {**kept, **self.environment}

    def pid(self, process: str) -> int:
        """The process id of ``web``, ``worker``, …; fails where it does not run."""
        return wait_for(
            f"a running {process}", lambda: int(self.processes().get(process, {}).get("pid") or 0)
        )

    def processes(self) -> dict[str, dict[str, Any]]:
        done = self.launcher("status", "--json")
        found: dict[str, dict[str, Any]] = json.loads(done.stdout or "{}").get("processes", {})
        return found

    def manage(self, *arguments: str, stdin: str = "") -> str:
        """``manage.py`` with this panel's settings."""
        from coi_web.launcher.panel import Panel
        from coi_web.launcher.paths import DataFolder

        environment = self.full_environment()
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(environment)
        try:
            ours = Panel(DataFolder(self.data), port=self.port, tiny=True).environment()
        finally:
            os.environ.clear()
            os.environ.update(before)
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**environment, **ours},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make_people(self) -> str:
        """``ana`` (member of Shop), ``ada`` (administrator), ``otto`` (auditor); returns Ana's write token."""
        return self.manage("shell", stdin=_PEOPLE).strip().splitlines()[-1]

    def session_cookie(self, username: str) -> str:
        """The value of a signed-in browser's cookie."""
        return self.manage("shell", stdin=_COOKIE.format(username=username)).strip().splitlines()[-1]

    def api(self, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of one call to ``/api/v1/<path>``."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                return error.code, json.loads(text)
            except ValueError:
                return error.code, text.decode(errors="replace")


_COOKIE = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.conf import settings
from coi_web.accounts.models import User
user = User.objects.get(username="{username}")
store = SessionStore()
store[SESSION_KEY] = str(user.pk)
store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
store[HASH_SESSION_KEY] = user.get_session_auth_hash()
store.create()
print()
print(store.session_key)
"""

_PEOPLE = f"""
from coi_web.accounts.models import Membership, Team, User
from coi_web.accounts.services import create_token
from coi_web.audit.actors import Actor
team, _ = Team.objects.get_or_create(slug="shop", defaults={{"name": "Shop"}})
def person(name, **more):
    user = User.objects.filter(username=name).first()
    return user or User.objects.create_user(name, "{PASSWORD}", display_name=name.capitalize(), **more)
ana = person("ana")
Membership.objects.get_or_create(team=team, user=ana)
person("ada", is_superuser=True)
person("otto", is_auditor=True)
person("sven")
token, text = create_token(actor=Actor.of(ana), name="tests", scope="write", days=1)
print()
print(text)
"""
