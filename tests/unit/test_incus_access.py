"""Which engine a process gets, and that it is the same one each time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from coi_web.incus import access, close_streams, get_api, get_streams, set_backend_for_tests
from coi_web.incus.client import IncusClient
from coi_web.incus.fake import FakeIncus
from coi_web.incus.streams import IncusEventStreams


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    kept = access._api, access._fake, access._chosen
    set_backend_for_tests(None, None)
    yield
    access._api, access._fake, access._chosen = kept


async def test_fake_by_settings(settings: Settings) -> None:
    settings.COI_INCUS = {"backend": "fake"}
    assert isinstance(get_api(), FakeIncus)
    assert get_api() is get_api()
    assert isinstance(get_streams(), FakeIncus)
    assert id(get_streams()) == id(get_api())


async def test_incus_by_settings(settings: Settings) -> None:
    settings.COI_INCUS = {"backend": "incus", "endpoint": "/nonexistent/socket"}
    assert isinstance(get_api(), IncusClient)
    assert get_api() is get_api()
    streams = get_streams()
    assert isinstance(streams, IncusEventStreams)
    assert get_streams() is streams
    await close_streams()
    assert get_streams() is not streams
    await close_streams()
    await close_streams()


def test_streams_belong_to_their_loop(settings: Settings) -> None:
    settings.COI_INCUS = {"backend": "incus", "endpoint": "/nonexistent/socket"}

    async def ask() -> object:
        return get_streams()

    assert asyncio.run(ask()) is not asyncio.run(ask())


async def test_chosen_by_a_test(settings: Settings) -> None:
    fake = FakeIncus()
    set_backend_for_tests(fake, fake)
    assert get_api() is fake
    assert get_streams() is fake
