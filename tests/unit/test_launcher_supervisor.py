"""The supervisor with real processes: restarts, stopping, and being killed itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coi_web.launcher.paths import ROOT
from coi_web.launcher.process import ProcessSpec, RestartPolicy, describe_exit
from coi_web.launcher.supervisor import Supervisor

SLEEPER = ("sleep", "600")


@pytest.fixture
def announced() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, announced: list[str]) -> Iterator[Supervisor]:
    made = Supervisor(
        log_folder=tmp_path / "logs",
        announce=announced.append,
        state_file=tmp_path / "state.json",
        policy=RestartPolicy(first_s=0.05, most_s=0.2),
    )
    with contextlib.closing(Closer(made)):
        yield made


class Closer:
    """``stop()`` under the name that ``closing`` calls."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.close = supervisor.stop


def pid_of(supervisor: Supervisor, name: str) -> int | None:
    process = supervisor.children()[name].process
    return process.pid if process else None


def is_alive(pid: int) -> bool:
    """False for a zombie too: it runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = 15) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


def test_delays_double_up_to_a_bound() -> None:
    policy = RestartPolicy(first_s=0.5, most_s=30)
    assert [policy.delay_s(deaths) for deaths in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert policy.delay_s(10_000) == 30


def test_a_killed_child_comes_back_and_is_announced(supervisor: Supervisor, announced: list[str]) -> None:
    supervisor.start(ProcessSpec("one", SLEEPER))
    first = pid_of(supervisor, "one")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert supervisor.wait_for(lambda: pid_of(supervisor, "one") not in (None, first), timeout_s=10)
    assert announced == ["one was ended by SIGKILL; starting it again in 0.05 s"]
    assert supervisor.children()["one"].restarts == 1


def test_a_child_that_cannot_stay_up_is_tried_ever_more_slowly(
    supervisor: Supervisor, announced: list[str]
) -> None:
    supervisor.start(ProcessSpec("bad", ("sh", "-c", "echo out of paper; exit 3")))
    assert supervisor.wait_for(lambda: len(announced) >= 4, timeout_s=15)
    delays = [float(found[1]) for line in announced if (found := re.search(r"again in ([\d.]+) s", line))]
    assert delays[:4] == [0.05, 0.1, 0.2, 0.2]
    assert announced[0] == "bad ended with code 3; starting it again in 0.05 s (last words: out of paper)"


def test_a_calm_time_forgets_earlier_deaths(tmp_path: Path) -> None:
    announced: list[str] = []
    policy = RestartPolicy(first_s=0.05, most_s=5, calm_s=0.2)
    supervisor = Supervisor(log_folder=tmp_path, announce=announced.append, policy=policy)
    with contextlib.closing(Closer(supervisor)):
        supervisor.start(ProcessSpec("one", SLEEPER))
        child = supervisor.children()["one"]
        pid = pid_of(supervisor, "one")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert supervisor.wait_for(lambda: child.deaths == 1, timeout_s=10)
        assert supervisor.wait_for(lambda: child.deaths == 0, timeout_s=10)


def test_what_a_dead_child_had_started_goes_with_it(supervisor: Supervisor, tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    script = f"sleep 600 & echo $! > {note}; exec sleep 600"
    supervisor.start(ProcessSpec("family", ("sh", "-c", script)))
    assert supervisor.wait_for(lambda: note.exists() and bool(note.read_text().strip()), timeout_s=10)
    grandchild, parent = int(note.read_text()), pid_of(supervisor, "family")
    assert parent is not None
    os.kill(parent, signal.SIGKILL)
    assert supervisor.wait_for(lambda: not is_alive(grandchild), timeout_s=10)


def test_death_and_the_end_of_output_may_come_in_one_turn(supervisor: Supervisor, tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    script = f"sleep 600 & echo $! > {note}; exec sleep 600"
    supervisor.start(ProcessSpec("family", ("sh", "-c", script)))
    wait_until(lambda: note.exists() and bool(note.read_text().strip()), "the grandchild's pid")
    parent = pid_of(supervisor, "family")
    assert parent is not None
    # Without a turn of the loop in between, and in the order that reports the death first.
    for pid in (parent, int(note.read_text())):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not is_alive(pid), f"{pid} is gone")  # type: ignore[misc]
    supervisor.pump()
    assert supervisor.children()["family"].deaths == 1


def test_output_goes_to_the_log_of_its_process(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(ProcessSpec("talker", ("sh", "-c", "echo to out; echo to err >&2; exec sleep 600")))
    log = tmp_path / "logs" / "talker.log"
    assert supervisor.wait_for(lambda: log.read_bytes() == b"to out\nto err\n", timeout_s=10)
    assert log.stat().st_mode & 0o777 == 0o600


def test_stop_is_polite_first_and_bounded(
    supervisor: Supervisor, announced: list[str], tmp_path: Path
) -> None:
    script = f"trap 'echo bye > {tmp_path}/bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    supervisor.start(ProcessSpec("polite", ("sh", "-c", script)))
    deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    supervisor.start(ProcessSpec("deaf", ("sh", "-c", deaf), stop_grace_s=0.3))
    logs = [tmp_path / "logs" / f"{name}.log" for name in ("polite", "deaf")]
    assert supervisor.wait_for(lambda: all(log.read_bytes() for log in logs), timeout_s=10)
    pids = [pid for name in ("polite", "deaf") if (pid := pid_of(supervisor, name))]
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < 5
    assert (tmp_path / "bye").read_text() == "bye\n"
    assert announced == ["deaf did not stop within 0.3 s: killed"]
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


def test_those_that_others_need_are_stopped_last(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"

    def script(name: str) -> str:
        return f"trap 'echo {name} >> {order}; exit 0' TERM; echo ready; while :; do sleep 0.02; done"

    supervisor.start(ProcessSpec("base", ("sh", "-c", script("base")), stop_last=True))
    supervisor.start(ProcessSpec("user", ("sh", "-c", f"{script('user').replace('TERM;', 'TERM;', 1)}")))
    logs = [tmp_path / "logs" / f"{name}.log" for name in ("base", "user")]
    assert supervisor.wait_for(lambda: all(log.read_bytes() for log in logs), timeout_s=10)
    supervisor.stop()
    assert order.read_text().split() == ["user", "base"]


def test_run_once_gives_code_and_output(supervisor: Supervisor) -> None:
    code, text = supervisor.run_once(ProcessSpec("setup", ("sh", "-c", "echo made; exit 4")), timeout_s=10)
    assert (code, text) == (4, "made\n")
    code, _ = supervisor.run_once(ProcessSpec("setup", SLEEPER), timeout_s=0.2)
    assert code == -signal.SIGKILL


def test_state_file_says_what_runs(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.note(url="http://panel.test", ready=True)
    supervisor.start(ProcessSpec("one", SLEEPER))
    supervisor.pump()
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["url"] == "http://panel.test"
    assert state["processes"]["one"]["state"] == "running"
    assert state["processes"]["one"]["pid"] == pid_of(supervisor, "one")
    supervisor.stop()
    assert not (tmp_path / "state.json").exists()


def test_a_command_that_does_not_exist_is_named(supervisor: Supervisor, announced: list[str]) -> None:
    supervisor.start(ProcessSpec("ghost", ("/nonexistent/program",)))
    assert supervisor.wait_for(lambda: bool(announced), timeout_s=10)
    assert "/nonexistent/program cannot be run: No such file or directory" in announced[0]


#: A supervisor of its own with a child and a grandchild, whose process ids it prints.
_VICTIM = """
import sys
from pathlib import Path
from coi_web.launcher.process import ProcessSpec
from coi_web.launcher.supervisor import Supervisor

supervisor = Supervisor(log_folder=Path(sys.argv[1]), announce=print)
supervisor.handle_signals()
supervisor.start(ProcessSpec("family", ("sh", "-c", "sleep 600 & echo $! > " + sys.argv[1] + "/pid; exec sleep 600")))
supervisor.start(ProcessSpec("deaf", ("sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done"), stop_grace_s=0.2))
supervisor.wait_for(lambda: (Path(sys.argv[1]) / "pid").exists(), timeout_s=20)
print(*[child.process.pid for child in supervisor.children().values()], flush=True)
supervisor.run()
supervisor.stop()
print("clean", flush=True)
"""


@contextlib.contextmanager
def victim(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        pids = [int(word) for word in process.stdout.readline().split()]
        wait_until(lambda: bool((folder / "pid").read_text().strip()), "the grandchild's pid")
        pids.append(int((folder / "pid").read_text()))
        assert len(pids) == 3
        yield process, pids
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_kill_9_of_the_supervisor_leaves_nothing(tmp_path: Path) -> None:
    with victim(tmp_path) as (process, pids):
        assert all(is_alive(pid) for pid in pids)
        process.kill()
        process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in pids), f"{pids} are gone")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_stop_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with victim(tmp_path) as (process, pids):
        process.send_signal(number)
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait(timeout=20) == 0
        assert said.endswith("clean\n")
        assert not any(is_alive(pid) for pid in pids[:2])


def test_a_child_whose_parent_has_already_gone_does_not_start(tmp_path: Path) -> None:
    wrapper = ROOT / "coi_web" / "launcher" / "child.py"
    note = tmp_path / "ran"
    not_our_parent = "1" if os.getpid() != 1 else "2"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(wrapper), not_our_parent, "touch", str(note)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the supervisor has gone" in done.stderr
    assert not note.exists()


def test_exits_in_words() -> None:
    assert describe_exit(3) == "ended with code 3"
    assert describe_exit(-9) == "was ended by SIGKILL"
    assert describe_exit(-63) == "was ended by signal 63"


def test_it_stops_with_the_process_it_was_told_of(supervisor: Supervisor, announced: list[str]) -> None:
    with subprocess.Popen(SLEEPER) as other:
        supervisor.stop_with(other.pid)
        assert supervisor.wait_for(lambda: not supervisor.stop_requested, timeout_s=10)
        other.kill()
        other.wait()
    supervisor.run()
    assert announced == [f"process {other.pid} has ended, and we were told to stop with it"]


def test_a_process_that_has_ended_already_stops_it_at_once(supervisor: Supervisor) -> None:
    with subprocess.Popen(("true",)) as other:
        other.wait()
    supervisor.stop_with(other.pid)
    assert supervisor.stop_requested
