"""What is measured on one terminal, whichever way it is reached.

All commands are typed into a shell and run on tiny images, so they use busybox' words only.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.ends import End

#: Lies in the instance (and on this machine for terminado); see engine.py.
FLOOD_FILE = "/tmp/coi-bench-flood"
FLOOD_FILE_BYTES = 20_000_000
FLOOD_COMMAND = b"yes 'the quick brown fox jumps over the lazy dog 0123456789'\n"
FAST_FLOOD_COMMAND = f"while cat {FLOOD_FILE}; do :; done\n".encode()
#: Nothing measured here may take longer; a path that hangs is a failure, not a long wait.
LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Echo:
    """Round trips of single keystrokes through a raw terminal, in milliseconds."""

    p50_ms: float
    p99_ms: float
    worst_ms: float


async def read_until(end: End, marker: bytes) -> bytes:
    """Read up to and with ``marker``; everything read is returned."""
    seen = b""
    async with asyncio.timeout(LIMIT_S):
        while marker not in seen:
            seen += await end.receive()
    return seen


async def prompt(end: End) -> None:
    """Wait until the shell obeys, with echo and line editing off."""
    # The quotes keep the echo of the command itself from being taken for its output.
    await end.send(b"PS1=; stty raw -echo; echo rea''dy\n")
    await read_until(end, b"ready")


async def throughput(end: End, megabytes: int) -> float:
    """MB/s of ``megabytes`` (10^6) of text lines through the PTY, from the command to the last byte."""
    await prompt(end)
    total = megabytes * 1_000_000
    files = " ".join([FLOOD_FILE] * (total // FLOOD_FILE_BYTES))
    total = total // FLOOD_FILE_BYTES * FLOOD_FILE_BYTES
    received = 0
    started = time.perf_counter()
    await end.send(f"cat {files}\n".encode())
    async with asyncio.timeout(LIMIT_S):
        while received < total:
            received += len(await end.receive())
    return total / 1e6 / (time.perf_counter() - started)


async def echo(end: End, keystrokes: int, pause_s: float) -> Echo:
    """Type one key at a time through ``cat`` in a raw terminal."""
    await prompt(end)
    await end.send(b"echo go; cat\n")
    await read_until(end, b"go")
    # The newline after "go", and whatever else is under way.
    await asyncio.sleep(0.2)
    await end.send(b"~")
    await read_until(end, b"~")
    times = []
    async with asyncio.timeout(LIMIT_S):
        for _ in range(keystrokes):
            started = time.perf_counter()
            await end.send(b"k")
            while b"k" not in await end.receive():
                pass
            times.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(pause_s)
    times.sort()
    return Echo(statistics.median(times), times[int(len(times) * 0.99)], times[-1])


async def flood(end: End, *, on_flowing: Callable[[], None]) -> None:
    """Run ``yes`` and read as fast as it comes until cancelled; ``on_flowing`` is called after a megabyte."""
    await prompt(end)
    await end.send(FLOOD_COMMAND)
    received = 0
    while True:
        received += len(await end.receive())
        if received > 1_000_000:
            on_flowing()
            on_flowing = _nothing


def _nothing() -> None:
    return None
