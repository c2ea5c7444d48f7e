"""One supervisor per data folder, and what the folder itself promises."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from coi_web.launcher.errors import LauncherError
from coi_web.launcher.lock import DataLock, current_holder
from coi_web.launcher.paths import ROOT, SOCKET_PATH_LIMIT, DataFolder

_HOLD = """
import sys
from pathlib import Path
from coi_web.launcher.lock import DataLock
lock = DataLock(Path(sys.argv[1]))
lock.take("http://127.0.0.1:8470")
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdin is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LauncherError) as refusal:
            DataLock(path).take("http://127.0.0.1:9999")
        assert refusal.value.code == "already-running"
        assert f"process {holder.pid}, since 2" in refusal.value.message
        assert "http://127.0.0.1:8470" in refusal.value.message
        assert "./coi-web down" in refusal.value.mend[0]
        found = current_holder(path)
        assert found is not None
        assert found.pid == holder.pid
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    # A holder that was killed leaves its words behind, but not the lock.
    assert current_holder(path) is None
    lock = DataLock(path)
    lock.take("http://127.0.0.1:9999")
    found = current_holder(path)
    assert found is not None
    assert found.pid == os.getpid()
    lock.release()
    lock.release()
    assert current_holder(path) is None


def test_a_lock_file_that_cannot_be_read_is_still_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = DataLock(path)
    lock.take("http://panel.test")
    path.write_text("{broken")
    with pytest.raises(LauncherError) as refusal:
        DataLock(path).take("")
    assert refusal.value.code == "already-running"
    lock.release()


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "data")
    data.make()
    first = data.secret_key.read_text(), data.audit_key.read_text()
    assert first[0] != first[1]
    assert len(first[0].strip()) == 128
    for file in (data.secret_key, data.audit_key):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(data.path.stat().st_mode) == 0o700
    data.make()
    assert (data.secret_key.read_text(), data.audit_key.read_text()) == first


def test_a_data_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LauncherError) as refusal:
        DataFolder(tmp_path / "file" / "data").make()
    assert refusal.value.code == "data-folder"
    assert "--data DIR" in refusal.value.mend[0]


def test_a_folder_with_other_things_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    tmp_path.chmod(0o755)
    with pytest.raises(LauncherError) as refusal:
        DataFolder(tmp_path).make()
    assert refusal.value.code == "data-folder-in-use"
    assert "thesis.tex" in refusal.value.message
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "thesis.tex").rename(tmp_path / "install.log")
    DataFolder(tmp_path).make()
    (tmp_path / "notes").write_text("")
    DataFolder(tmp_path).make()


def test_socket_paths_stay_within_what_the_kernel_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    short = DataFolder(Path("/srv/panel"))
    assert short.socket_path("redis.sock") == Path("/srv/panel/redis.sock")
    name = "redis.sock"
    edge = DataFolder(Path("/" + "d" * (SOCKET_PATH_LIMIT - len(name) - 2)))
    assert len(str(edge.socket_path(name))) == SOCKET_PATH_LIMIT
    assert edge.socket_path(name).parent == edge.path
    deep = DataFolder(Path("/" + "d" * (SOCKET_PATH_LIMIT - len(name) - 1)))
    found = deep.socket_path(name)
    assert found.parent.parent == tmp_path
    assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
    assert deep.socket_path(name) == found
    # Letters of two bytes count twice.
    umlauts = DataFolder(Path("/" + "ü" * 60))
    assert umlauts.socket_path(name).parent.parent == tmp_path


def test_a_socket_folder_that_others_may_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    deep = DataFolder(Path("/" + "d" * 150))
    deep.socket_path("redis.sock").parent.chmod(0o777)
    with pytest.raises(LauncherError) as refusal:
        deep.socket_path("redis.sock")
    assert refusal.value.code == "socket-folder"
