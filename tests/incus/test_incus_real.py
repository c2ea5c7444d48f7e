"""The engine's contract on a real daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from coi_web.incus import tiny_image
from coi_web.incus.streams import IncusEventStreams
from tests.support.incus_contract import CallContract, World
from tests.support.incus_lab import IMAGE, IncusLab
from tests.support.incus_stream_contract import StreamContract


def second_image(folder: Path) -> Path:
    """Like the tiny image, and yet another one: its archive has one byte more behind its end."""
    target = folder / "second.tar.gz"
    tiny_image.build(target)
    target.write_bytes(target.read_bytes() + b"\0")
    return target


@pytest.fixture(scope="session")
def world(lab: IncusLab) -> World:
    return World(lab.api, lambda: IncusEventStreams(lab.config), lab.name, IMAGE, second_image)


class TestCalls(CallContract):
    pass


class TestStreams(StreamContract):
    pass
