"""Everything that one run of the terminal benchmark compares, started and taken away again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coi_web.launcher.panel import Panel
from coi_web.launcher.paths import DataFolder
from tests.bench.ends import Spec
from tests.bench.measure import FLOOD_FILE, FLOOD_FILE_BYTES
from tests.support.incus_lab import IncusLab, incus_lab
from tests.support.panel import ROOT, RunningPanel, free_port, wait_for

LINE = "the quick brown fox jumps over the lazy dog 0123456789 abcdefghijklmnopqrstuvw"


@dataclass(frozen=True)
class Stage:
    """``specs`` and ``pids`` by path: raw, uvicorn, daphne, terminado (raw has no process of ours)."""

    lab: IncusLab
    panel: RunningPanel
    token: str
    cookie: str
    specs: dict[str, Spec]
    pids: dict[str, int]


@contextmanager
def stage() -> Iterator[Stage]:
    """A panel under uvicorn, the same panel under Daphne, terminado, and one container for all."""
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="coi-web-bench-") as folder, incus_lab() as lab:
        environment = {
            "COI_INCUS_PROJECT": lab.name,
            "COI_INCUS_POOL": lab.name,
            "COI_INCUS_NETWORK": lab.name,
        }
        panel = RunningPanel(Path(folder) / "panel", environment)
        local_file = Path(FLOOD_FILE)
        try:
            panel.start()
            token = panel.make_people()
            cookie = panel.session_cookie("ana")
            session = start_session(panel, token, make_workspace(panel, token, "bench"))
            lab.api.run(session, ["sh", "-c", f"yes '{LINE}' | head -c {FLOOD_FILE_BYTES} > {FLOOD_FILE}"])
            line = f"{LINE}\n".encode()
            local_file.write_bytes((line * (FLOOD_FILE_BYTES // len(line) + 1))[:FLOOD_FILE_BYTES])

            daphne_port = free_port()
            processes.append(_daphne(panel, daphne_port))
            terminado_port = free_port()
            command = [sys.executable, "-m", "tests.bench.terminado_server", str(terminado_port)]
            processes.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL))
            for port in (daphne_port, terminado_port):
                wait_for(f"an answer on port {port}", lambda port=port: _answers(port))  # type: ignore[misc]

            def web(port: int) -> Spec:
                return {
                    "kind": "web",
                    "url": f"http://127.0.0.1:{port}/ws/sessions/{session}/terminal/",
                    "cookies": {"coi_web_session": cookie},
                    "origin": f"http://127.0.0.1:{port}",
                }

            yield Stage(
                lab,
                panel,
                token,
                cookie,
                specs={
                    "raw": {"kind": "raw", "project": lab.name, "instance": session, "command": ["sh", "-l"]},
                    "uvicorn": web(panel.port),
                    "daphne": web(daphne_port),
                    "terminado": {"kind": "terminado", "url": f"http://127.0.0.1:{terminado_port}/socket"},
                },
                pids={
                    "uvicorn": panel.pid("web"),
                    "daphne": processes[0].pid,
                    "terminado": processes[1].pid,
                },
            )
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(20)
            panel.stop()
            lab.empty()
            local_file.unlink(missing_ok=True)


def make_workspace(panel: RunningPanel, token: str, name: str) -> str:
    """Its slug, once it is ready."""
    status, made = panel.api(token, "POST", "workspaces/", {"name": name})
    assert status < 300, made
    slug = f"ana.{name}"

    def state() -> str:
        found = panel.api(token, "GET", f"workspaces/{slug}/")[1]
        return str(found["state"])

    wait_for(f"{slug} ready", lambda: state() == "ready")
    return slug


def start_session(panel: RunningPanel, token: str, slug: str) -> str:
    """Its name, once it runs; asks every 10 ms, as nobody's page would."""
    status, made = panel.api(token, "POST", "sessions/", {"workspace": slug, "mode": "ephemeral"})
    assert status < 300, made
    name = str((made.get("session") or made)["name"])
    wait_for(f"{name} running", lambda: panel.api(token, "GET", f"sessions/{name}/")[1]["state"] == "running")
    return name


def rss_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found, f"process {pid} has no memory"
    return int(found[1]) / 1024


def _daphne(panel: RunningPanel, port: int) -> subprocess.Popen[bytes]:
    """The panel's web process once more, as the launcher would start it with Daphne."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(panel.full_environment(), COI_ASGI_SERVER="daphne")
    try:
        spec = Panel(DataFolder(panel.data), port=port, tiny=True).web()
        environment = {**os.environ, **(spec.environment or {})}
    finally:
        os.environ.clear()
        os.environ.update(before)
    return subprocess.Popen(
        spec.command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
