"""Bringing the Incus daemon back after a crash, and only then."""

from __future__ import annotations

import pytest

from coi_web.launcher import daemon
from coi_web.launcher.daemon import DaemonWatch
from coi_web.launcher.incus_rest import Reach


class Machine:
    """What the watch sees and does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, systemd: bool = False, root: bool = True) -> None:
        self.reach = Reach.ANSWERS
        self.started = 0
        self.said: list[str] = []
        monkeypatch.setattr(daemon, "knock", lambda timeout_s: self.reach)
        monkeypatch.setattr(daemon, "launch_detached", self._start)
        monkeypatch.setattr(daemon, "has_systemd", lambda: systemd)
        monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)
        self.watch = DaemonWatch(self.said.append, every_s=2)

    def _start(self) -> None:
        self.started += 1


def test_a_daemon_that_died_is_started_once_and_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.watch.look(0)
    machine.reach = Reach.STALE
    for now in range(1, 16):
        machine.watch.look(now)
    assert machine.started == 1
    assert machine.said == ["Incus died; starting it again. Containers go on running."]
    machine.reach = Reach.ANSWERS
    machine.watch.look(30)
    assert machine.said[1:] == ["Incus answers again."]


def test_one_that_does_not_come_back_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.reach = Reach.STALE
    for now in range(40):
        machine.watch.look(now)
    assert machine.started == 3


def test_one_that_was_stopped_stays_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.reach = Reach.ABSENT
    for now in range(20):
        machine.watch.look(now)
    assert machine.started == 0
    assert len(machine.said) == 1
    assert "does not answer (absent)" in machine.said[0]


@pytest.mark.parametrize(("systemd", "root"), [(True, True), (False, False)])
def test_it_is_left_to_systemd_and_to_root(
    monkeypatch: pytest.MonkeyPatch, systemd: bool, root: bool
) -> None:
    machine = Machine(monkeypatch, systemd=systemd, root=root)
    machine.reach = Reach.STALE
    for now in range(20):
        machine.watch.look(now)
    assert machine.started == 0
