"""The tiny image: the same bytes each time, and only from a busybox that needs no libraries."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

from coi_web.errors import InvalidInput
from coi_web.incus import tiny_image
from coi_web.incus.fake import FakeIncus


@pytest.fixture
def busybox() -> Path:
    try:
        return tiny_image.find_busybox()
    except InvalidInput:
        pytest.skip("no static busybox on this machine")


def test_same_bytes_each_time(tmp_path: Path, busybox: Path) -> None:
    first = tiny_image.build(tmp_path / "a.tar.gz", busybox)
    assert tiny_image.build(tmp_path / "b.tar.gz", busybox) == first
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_content(tmp_path: Path, busybox: Path) -> None:
    tiny_image.build(tmp_path / "a.tar.gz", busybox)
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
    assert entries["rootfs/workspace"].uid == tiny_image.CODE_UID
    assert entries["rootfs/sbin/init"].linkname == "/bin/busybox"
    assert entries["rootfs/bin/sh"].linkname == "/bin/busybox"
    assert entries["rootfs/tmp"].mode == 0o1777
    assert "metadata.yaml" in entries


def test_only_a_static_program(tmp_path: Path, busybox: Path) -> None:
    assert tiny_image.is_static(busybox)
    assert not tiny_image.is_static(Path(sys.executable).resolve())
    text = tmp_path / "script"
    text.write_text("#!/bin/sh\n" * 20)
    assert not tiny_image.is_static(text)


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_image, "_BUSYBOX_PLACES", ())
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(InvalidInput, match="busybox-static"):
        tiny_image.find_busybox()


def test_imported_only_when_needed(busybox: Path) -> None:
    fake = FakeIncus(images=())
    tiny_image.ensure_tiny_image(fake)
    assert [call for call, _ in fake.calls] == ["image", "import_image"]
    recent = FakeIncus(images=())
    recent.add_image("coi-tiny", {tiny_image.RECIPE_PROPERTY: tiny_image.RECIPE})
    tiny_image.ensure_tiny_image(recent)
    assert [call for call, _ in recent.calls] == ["image"]
