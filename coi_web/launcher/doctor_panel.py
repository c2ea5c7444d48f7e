"""Checks of the panel: its data folder, secrets and processes."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator

from coi_web.launcher.control import read_state
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.finding import Finding, fail, warn, well
from coi_web.launcher.lock import current_holder
from coi_web.launcher.panel import Panel
from coi_web.launcher.probe import ask_ready, port_is_free


def data_folder(panel: Panel) -> Iterator[Finding]:
    path = panel.data.path
    if not path.is_dir():
        yield warn("data-folder", f"{path} is not there yet.", "./coi-web up makes it")
        return
    found = path.stat()
    if found.st_uid != os.geteuid():
        yield fail("data-folder", f"{path} belongs to user id {found.st_uid}.", "Run as that user.")
    elif found.st_mode & 0o077:
        yield warn("data-folder", f"Others may look into {path}.", f"chmod 700 {path}")
    else:
        yield well("data-folder", str(path))


def secrets(panel: Panel) -> Iterator[Finding]:
    files = [path for path in (panel.data.secret_key, panel.data.audit_key) if path.is_file()]
    if not files:
        return
    open_to_others = [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_to_others:
        listed = " ".join(str(path) for path in open_to_others)
        yield fail("secrets", f"Others may read {listed}.", f"chmod 600 {listed}")
    elif any(path.stat().st_size < 64 for path in files):
        yield fail(
            "secrets",
            "A secret is empty or cut short.",
            "Restore it from a backup; do not make a new audit key.",
        )
    else:
        yield well("secrets", "only you may read them")


def queue_server(panel: Panel) -> Iterator[Finding]:
    if not panel.queue_is_private:
        yield well("redis", "the one that COI_REDIS_URL names")
        return
    try:
        yield well("redis", panel.redis().command[0])
    except LauncherError as error:
        yield fail("redis", error.message, *error.mend)


def database(panel: Panel) -> Iterator[Finding]:
    path = panel.data.path / "coi-web.sqlite3"
    if os.environ.get("COI_DATABASE_URL") or os.environ.get("COI_DATABASE_URL_FILE"):
        yield well("database", "the one that COI_DATABASE_URL names")
        return
    if not path.is_file():
        return
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield fail(
            "database", f"{path} cannot be read: {error}.", "Stop the panel and restore it from a backup."
        )
        return
    if said == "ok":
        yield well("database", f"{path.name}, sound")
    else:
        yield fail(
            "database", f"{path.name} is damaged: {said}.", "Stop the panel and restore it from a backup."
        )


def processes(panel: Panel) -> Iterator[Finding]:
    holder = current_holder(panel.data.lock)
    if holder is None:
        if port_is_free(panel.bind, panel.port):
            yield well("panel", "does not run; its port is free")
        else:
            yield warn(
                "panel", f"does not run, and another program has port {panel.port}.", "./coi-web up --port N"
            )
        return
    state = read_state(panel.data)
    unwell = [name for name, one in state.get("processes", {}).items() if one["state"] != "running"]
    restless = [name for name, one in state.get("processes", {}).items() if one["restarts"] >= 3]
    for name in unwell:
        yield fail(f"process-{name}", f"{name} does not stay up.", f"./coi-web logs {name}")
    for name in restless:
        if name not in unwell:
            yield warn(
                f"process-{name}", f"{name} had to be started again and again.", f"./coi-web logs {name}"
            )
    answer = ask_ready(panel.host, panel.port, str(state.get("url", panel.url)))
    if answer is None:
        yield fail("panel", f"process {holder.pid} runs, but the page does not answer.", "./coi-web logs web")
    elif answer.ready:
        yield well("panel", f"ready at {holder.url}, since {holder.since}")
    else:
        yield fail("panel", f"does not reach: {', '.join(answer.missing)}.", "See the checks above.")


CHECKS = (data_folder, secrets, queue_server, database, processes)
