"""The engine's contract on the fake, and the fake's own switches."""

from __future__ import annotations

from pathlib import Path

import pytest

from coi_web.incus.fake import FakeIncus
from tests.support.incus_contract import CallContract, World
from tests.support.incus_stream_contract import StreamContract


def second_image(folder: Path) -> Path:
    target = folder / "second.tar.gz"
    target.write_bytes(b"an image")
    return target


@pytest.fixture(scope="class")
def world() -> World:
    fake = FakeIncus()
    return World(fake, lambda: fake, "coi-web", "coi-tiny", second_image)


class TestCalls(CallContract):
    pass


class TestStreams(StreamContract):
    pass
