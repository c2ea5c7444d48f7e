"""How the starter image is laid out, and how it is built on a given machine."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from coi_web.launcher import images, starter_image
from coi_web.launcher.apt import AptSource, Release
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.image_files import SHUTDOWN_WORDS, write_files
from coi_web.launcher.images import make_recipe
from coi_web.launcher.output import Step

BOOKWORM = Release("debian", "12", "bookworm", "Debian GNU/Linux 12 (bookworm)")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Ownership needs root; that uid 1000 is asked for is what counts here.
    monkeypatch.setattr("os.chown", lambda path, uid, gid: (tmp_path / "owner").write_text(f"{uid}:{gid}"))
    made = tmp_path / "root"
    made.mkdir()
    write_files(made, ["deb http://mirror.test/debian bookworm main"], dated=False)
    return made


def test_words_that_end_a_session_leave_the_marker_first(root: Path) -> None:
    assert set(SHUTDOWN_WORDS) == {"close", "stop", "poweroff", "halt", "reboot", "shutdown"}
    for word in SHUTDOWN_WORDS:
        script = root / "usr/local/bin" / word
        assert stat.S_IMODE(script.stat().st_mode) == 0o755
        text = script.read_text()
        assert text.index("/run/coi-shutdown-requested") < text.index("systemctl --no-block poweroff")
        assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0


def test_the_person_inside_may_do_everything_inside(root: Path) -> None:
    sudo = root / "etc/sudoers.d/code"
    assert sudo.read_text() == "code ALL=(ALL:ALL) NOPASSWD: ALL\n"
    # sudo ignores files that others may write.
    assert stat.S_IMODE(sudo.stat().st_mode) == 0o440
    assert (root / "workspace").is_dir()
    assert (root.parent / "owner").read_text() == "1000:1000"


def test_names_resolve_and_identities_are_made_inside(root: Path) -> None:
    assert (root / "etc/resolv.conf").readlink() == Path("/run/systemd/resolve/stub-resolv.conf")
    assert "DHCP=ipv4" in (root / "etc/systemd/network/10-eth0.network").read_text()
    assert (root / "etc/machine-id").read_text() == ""


def test_only_an_image_from_a_snapshot_takes_old_indexes(root: Path) -> None:
    option = root / "etc/apt/apt.conf.d/90dated-mirror"
    assert not option.exists()
    write_files(root, [], dated=True)
    assert 'Check-Valid-Until "false"' in option.read_text()


def source(uri: str, *suites: str, **options: str) -> AptSource:
    return AptSource((uri,), suites, ("main", "contrib"), options)


def test_the_recipe_is_the_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [
        source("http://mirror.test/archive/20250520T000000Z", "bookworm", "bookworm-updates"),
        source("http://mirror.test/security", "bookworm-security"),
        source("http://tools.test/debian", "tools"),
    ]
    monkeypatch.setattr(images, "read_sources", lambda: sources)
    recipe = make_recipe(BOOKWORM)
    assert recipe.mirror == "http://mirror.test/archive/20250520T000000Z"
    assert recipe.dated
    assert not recipe.trusted
    assert recipe.apt_lines == (
        "deb http://mirror.test/archive/20250520T000000Z bookworm main",
        "deb http://mirror.test/archive/20250520T000000Z bookworm-updates main",
        "deb http://mirror.test/security bookworm-security main",
    )


def test_a_machine_without_an_archive_cannot_build_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "read_sources", list)
    with pytest.raises(LauncherError) as refusal:
        make_recipe(BOOKWORM)
    assert refusal.value.code == "apt-sources"
    assert "coi-default" in refusal.value.mend[0]


def test_progress_is_read_from_debootstrap() -> None:
    step = Step("Building")
    for line, detail in (
        ("I: Retrieving tmux 3.3a-3", "downloading tmux"),
        ("W: something", "downloading tmux"),
        ("I: Configuring libc-bin...", "configuring libc-bin"),
        ("Packing the image", "packing the image"),
    ):
        images._show_stage(step, line)
        assert step.detail == detail


def test_leftovers_of_killed_builds_go_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter_image, "WORK_FOLDER", tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = (
        f"coi-web-image-{dead.pid}-abc",
        f"coi-web-image-{os.getpid()}-abc",
        "coi-web-image-notes",
        "other",
    )
    for name in names:
        (tmp_path / name / "rootfs").mkdir(parents=True)
    starter_image._sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
