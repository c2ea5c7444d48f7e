"""Runs the panel on a machine that is ready: queue, database, processes, until told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from coi_web.launcher.daemon import DaemonWatch
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.lock import DataLock
from coi_web.launcher.logs import LogFile
from coi_web.launcher.once import Once
from coi_web.launcher.output import Output
from coi_web.launcher.panel import Panel
from coi_web.launcher.prepare import (
    is_administrator_known,
    prepare_database,
    prepare_static,
    remember_administrator,
)
from coi_web.launcher.probe import Readiness, ask_ready, queue_answers
from coi_web.launcher.supervisor import Supervisor

_READY_LIMIT_S = 90
_QUEUE_LIMIT_S = 60
_LINK_LIMIT_S = 60
#: A web process that dies that often before it has answered once will not get better by itself.
_HOPELESS_DEATHS = 3


@dataclass(frozen=True, slots=True)
class Ready:
    """What a person needs to begin.  ``link``: one-time sign-in; empty where an administrator has a password."""

    url: str
    link: str
    seconds: float


def serve(
    panel: Panel,
    output: Output,
    lock: DataLock,
    *,
    started: float,
    on_ready: Callable[[Ready], None],
) -> int:
    """Runs until SIGTERM or SIGINT; 0 after a clean stop.  ``started``: monotonic time of the command's start.

    Raises LauncherError where the panel cannot come up; then nothing is left running.
    """
    journal = LogFile(panel.data.logs / "supervisor.log")

    def announce(text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')}  {text}"
        journal.write(f"{time.strftime('%Y-%m-%d')} {line}\n".encode())
        output.say(line)

    lock.describe(panel.url)
    supervisor = Supervisor(log_folder=panel.data.logs, announce=announce, state_file=panel.data.state)
    supervisor.handle_signals()
    if panel.stop_with:
        supervisor.stop_with(panel.stop_with)
    supervisor.note(
        url=panel.url, port=panel.port, host=panel.host, tiny=panel.tiny, data=str(panel.data.path)
    )
    try:
        ready = _bring_up(panel, output, supervisor, started)
        if ready is not None:
            supervisor.note(ready=True)
            on_ready(ready)
            if panel.engine.is_ours_to_start:
                supervisor.every_tick(DaemonWatch(announce).look)
            supervisor.run()
        with output.step("Stopping; containers go on running"):
            supervisor.stop()
        return 0
    finally:
        supervisor.stop()
        journal.close()
        lock.release()


def _bring_up(panel: Panel, output: Output, supervisor: Supervisor, started: float) -> Ready | None:
    """Starts everything; None where a stop was asked for meanwhile."""
    if panel.queue_is_private:
        supervisor.start(panel.redis())
        if not supervisor.wait_for(lambda: queue_answers(panel.queue_socket), timeout_s=_QUEUE_LIMIT_S):
            _give_up(supervisor, "redis")
            return None
    prepare_database(panel, supervisor, output)
    prepare_static(panel, supervisor, output)
    if supervisor.stop_requested:
        return None
    with output.step("Starting the panel") as step:
        supervisor.start(panel.web())
        command = panel.manage("link", "first_admin_link", "--base-url", panel.url)
        link = None if is_administrator_known(panel) else supervisor.begin_once(command)
        try:
            seen: list[Readiness] = []
            web = supervisor.children()["web"]
            supervisor.wait_for(
                lambda: web.deaths >= _HOPELESS_DEATHS or _is_ready(panel, seen), timeout_s=_READY_LIMIT_S
            )
            if not (seen and seen[-1].ready):
                step.note = "interrupted"
                _give_up(supervisor, "web", seen[-1] if seen else None)
                return None
            address = _first_link(panel, supervisor, link) if link is not None else ""
        finally:
            if link is not None:
                link.close()
        # Last: whoever waits for the page should not share the processor with them.
        supervisor.start(panel.worker())
        supervisor.start(panel.beat())
        supervisor.start(panel.agent())
    return Ready(panel.url, address, time.monotonic() - started)


def _is_ready(panel: Panel, seen: list[Readiness]) -> bool:
    answer = ask_ready(panel.host, panel.port, panel.url)
    if answer is not None:
        seen.append(answer)
    return answer is not None and answer.ready


def _first_link(panel: Panel, supervisor: Supervisor, link: Once) -> str:
    """The administrator's link; empty where one has a password, which is remembered for the next start."""
    supervisor.wait_for(lambda: link.code is not None, timeout_s=_LINK_LIMIT_S)
    if link.code != 0 and not supervisor.stop_requested:
        detail = "\n".join(link.text().splitlines()[-12:])
        raise LauncherError("admin-link", "No sign-in link could be made.", detail=detail)
    found = next((line.strip() for line in link.text().splitlines() if "/sign-in/" in line), "")
    if not found and link.code == 0:
        remember_administrator(panel)
    return found


def _give_up(supervisor: Supervisor, name: str, seen: Readiness | None = None) -> None:
    """Nothing where a stop was asked for; else raises LauncherError with the process's last words."""
    if supervisor.stop_requested:
        return
    if seen is not None and seen.missing:
        raise LauncherError(
            "not-ready",
            f"The panel runs, but this does not answer: {', '.join(seen.missing)}.",
            mend=["./coi-web doctor says what is wrong with it."],
        )
    raise LauncherError(
        f"{name}-start",
        f"The process {name} does not come up.",
        detail=supervisor.children()[name].tail(),
        mend=[f"Its log: ./coi-web logs {name}"],
    )
