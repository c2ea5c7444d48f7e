"""How a test run is put together and judged."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coi_web.launcher.engines import engine_folder, private_redis
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.gates import Gate, python_gates, run_gate
from coi_web.launcher.output import Output
from coi_web.launcher.paths import ROOT
from coi_web.launcher.probe import queue_answers
from coi_web.launcher.results import Counts
from coi_web.launcher.testing import Suites, _is_test_path, _parts_of, run_tests


def quiet() -> Output:
    return Output(io.StringIO(), interactive=False)


def suites(tmp_path: Path, *arguments: str) -> Suites:
    return Suites(tmp_path, quiet(), arguments, {})


def test_a_part_that_does_not_exist_is_refused_before_anything_runs() -> None:
    with pytest.raises(LauncherError) as refusal:
        run_tests(quiet(), assume_yes=True, without="incus,brwoser", pytest_arguments=[])
    assert "brwoser" in refusal.value.message
    assert "browser" in refusal.value.mend[0]


def test_passed_is_ok_and_everything_else_is_not(tmp_path: Path) -> None:
    judge = suites(tmp_path)._judge
    assert judge("unit", 0, Counts(5), 1).is_ok
    assert not judge("unit", 1, Counts(5, 1), 1).is_ok
    skipped = judge("unit", 0, Counts(5, 0, 1), 1)
    assert not skipped.is_ok
    assert "1 skipped" in skipped.note
    crashed = judge("unit", 3, None, 1)
    assert not crashed.is_ok
    assert crashed.note == "pytest ended with code 3"


def test_no_tests_is_a_failure_unless_some_were_chosen(tmp_path: Path) -> None:
    assert not suites(tmp_path)._judge("unit", 5, Counts(), 1).is_ok
    assert suites(tmp_path, "-k", "something")._judge("unit", 5, Counts(), 1).is_ok


def test_paths_choose_suites() -> None:
    assert _is_test_path("tests/unit/test_launcher_testing.py::test_paths_choose_suites")
    assert not _is_test_path("tests/unit/missing.py")
    assert not _is_test_path("-k")
    assert _parts_of(["tests/browser", "tests/unit/test_launcher_apt.py"]) == ["unit", "browser"]


def test_a_gate_that_fails_shows_what_it_said() -> None:
    stream = io.StringIO()
    result = run_gate(
        Gate("grumble", ("sh", "-c", "echo line 7 is ugly; exit 1")), Output(stream, interactive=False)
    )
    assert not result.is_ok
    assert " fail grumble" in stream.getvalue()
    assert "    | line 7 is ugly" in stream.getvalue()


def test_every_gate_is_a_program_that_is_there() -> None:
    assert {gate.name for gate in python_gates()} >= {
        "mypy",
        "ruff check",
        "imports",
        "migrations",
        "API schema",
    }
    assert all(Path(gate.command[0]).exists() for gate in python_gates())


def test_the_private_server_is_gone_afterwards() -> None:
    with engine_folder() as folder:
        with private_redis(folder) as url:
            path = Path(url.removeprefix("unix://"))
            assert path.parent == folder
            assert queue_answers(path)
        assert not queue_answers(path)
    assert not folder.exists()


_RUN = """
import os, signal, sys
from coi_web.launcher.process import raise_terminated, run_attached
signal.signal(signal.SIGTERM, raise_terminated)
suite = "import time\\ntry:\\n  print('up', flush=True); time.sleep(600)\\nfinally: print('cleaned', flush=True)"
run_attached([sys.executable, "-c", suite], dict(os.environ))
"""


@contextmanager
def attached() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_run_that_is_terminated_lets_the_suite_clean_up() -> None:
    with attached() as process:
        process.terminate()
        assert process.stdout is not None
        # The pipe ends only when the suite has ended too.
        assert process.stdout.read() == "cleaned\n"
        assert process.wait(timeout=20) != 0


def test_a_run_that_is_killed_takes_the_suite_with_it() -> None:
    with attached() as process:
        process.kill()
        assert process.stdout is not None
        assert process.stdout.read() == ""
