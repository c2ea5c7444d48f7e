"""A real Daphne waits for the browser in both directions, which it does not do by itself."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
#: What the kernel's socket buffers of both ends take at the very most, besides Twisted's 64 KiB.
SOCKET_BUFFERS = 16 * 1024 * 1024


def rss_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found, status
    return int(found[1]) * 1024


@pytest.fixture
async def daphne() -> AsyncIterator[tuple[int, int]]:
    """The port and process id of a Daphne that serves the flooding application."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daphne", "-v", "1", "-p", "0", "-b", "127.0.0.1",
        "tests.support.flooding_asgi:application",
        cwd=ROOT, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(20):
            while not (found := re.search(rb"127\.0\.0\.1:(\d+)", line := await process.stderr.readline())):
                assert line, "Daphne ended before it listened"
        yield int(found[1]), process.pid
    finally:
        process.kill()
        await process.wait()


async def counts(port: int) -> dict[str, int]:
    def get() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            body: bytes = answer.read()
            return body

    found: dict[str, int] = json.loads(await asyncio.to_thread(get))
    return found


async def come_to_rest(port: int, name: str) -> int:
    """Wait until a count no longer grows; fails when it never stops."""
    last = -1
    for _ in range(40):
        now = (await counts(port))[name]
        if now == last and now > 0:
            return now
        last = now
        await asyncio.sleep(0.25)
    pytest.fail(f"{name} still grows: {last} bytes")


async def test_sending_waits_for_a_browser_that_does_not_read(daphne: tuple[int, int]) -> None:
    port, pid = daphne
    async with aiohttp.ClientSession() as http:
        before = rss_bytes(pid)
        # The client's own parser stops reading after its queue is full.
        socket = await http.ws_connect(f"http://127.0.0.1:{port}/", max_msg_size=0)
        sent = await come_to_rest(port, "sent")
        assert sent < SOCKET_BUFFERS
        assert rss_bytes(pid) - before < 4 * 1024 * 1024

        read = 0
        async with asyncio.timeout(20):
            while read <= sent:
                read += len((await socket.receive()).data)
        assert (await counts(port))["sent"] > sent, "it goes on once the browser reads"
        await socket.close()


async def test_reading_waits_for_an_application_that_is_busy(daphne: tuple[int, int]) -> None:
    port, pid = daphne
    async with aiohttp.ClientSession() as http:
        socket = await http.ws_connect(f"http://127.0.0.1:{port}/deaf", max_msg_size=0)
        await socket.send_bytes(b"x")
        await come_to_rest(port, "taken")
        before = rss_bytes(pid)
        written = 0
        with pytest.raises(TimeoutError):
            while written < 64 * 1024 * 1024:
                async with asyncio.timeout(2):
                    await socket.send_bytes(b"x" * 65536)
                written += 65536
        assert written < SOCKET_BUFFERS
        assert rss_bytes(pid) - before < 4 * 1024 * 1024
        socket._response.close()
