"""A remote engine: recognised by its certificate's fingerprint in calls, terminals and events alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from coi_web.errors import IncusUnavailable
from coi_web.incus.client import IncusClient
from coi_web.incus.streams import IncusEventStreams
from coi_web.incus.types import ExecRequest, IncusConfig, InstanceSpec, LifecycleEvent
from tests.support.incus_https import https_door, make_certificate
from tests.support.incus_lab import IMAGE, IncusLab
from tests.support.incus_stream_contract import read_all


@pytest.fixture(scope="module")
def remote(lab: IncusLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncusConfig]:
    with https_door(lab, tmp_path_factory.mktemp("certificates")) as config:
        yield config


@pytest.fixture(scope="module")
def box(lab: IncusLab) -> Iterator[str]:
    lab.api.create_instance(InstanceSpec("https-box", IMAGE, {}, lab.devices()))
    lab.api.start_instance("https-box")
    yield "https-box"
    lab.api.stop_instance("https-box", force=True)
    lab.api.delete_instance("https-box")


def test_calls(remote: IncusConfig, box: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # This variable would replace the pinned certificate if the session heeded the environment.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    client = IncusClient(remote)
    assert box in [one.name for one in client.instances()]
    assert client.run(box, ["cat"], stdin=b"\xff over https").stdout == b"\xff over https"
    client.close()


async def test_streams(remote: IncusConfig, box: str) -> None:
    streams = IncusEventStreams(remote)
    stream = await streams.open_exec(box, ExecRequest(("sh", "-c", "stty size; exit 5"), width=99, height=33))
    assert await read_all(stream) == b"33 99\r\n"
    assert await stream.exit_code() == 5
    await stream.aclose()
    connected = asyncio.Event()

    async def first_event() -> LifecycleEvent:
        async with aclosing(streams.events(on_connected=connected.set)) as events:
            return await anext(events)

    follower = asyncio.create_task(first_event())
    async with asyncio.timeout(20):
        await connected.wait()
        stream = await streams.open_exec(box, ExecRequest(("true",)))
        assert (await follower).action == "instance-exec"
    await stream.aclose()
    await streams.aclose()


async def test_another_server_is_refused(remote: IncusConfig, box: str, tmp_path: Path) -> None:
    other, _ = make_certificate(tmp_path, "other")
    config = replace(remote, server_cert=str(other))
    client = IncusClient(config)
    with pytest.raises(IncusUnavailable):
        client.instances()
    client.close()
    streams = IncusEventStreams(config)
    with pytest.raises(IncusUnavailable):
        await streams.open_exec(box, ExecRequest(("true",)))
    with pytest.raises(IncusUnavailable):
        await anext(streams.events())
    await streams.aclose()
