"""``./coi-web bench terminal``: our terminals beside raw Incus exec and terminado, in one run.

Each round measures every path once, in turn, so that a busy moment of the machine meets all of them;
the table shows medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvloop

from tests.bench import measure
from tests.bench.ends import End, RawEnd, Spec, WebEnd, open_end
from tests.bench.stage import Stage, make_workspace, rss_mib, stage
from tests.support.incus_lab import IMAGE
from tests.support.panel import ROOT

PATHS = ("raw", "uvicorn", "daphne", "terminado")
STALLED_SOCKETS = 4
STALLED_S = 4.0
START_POLL_S = 0.01


@dataclass
class Figures:
    """All rounds of one path; milliseconds, MB/s (10^6) and MiB."""

    throughput: list[float] = field(default_factory=list)
    quiet: list[measure.Echo] = field(default_factory=list)
    beside_flood: list[measure.Echo] = field(default_factory=list)
    stalled_mib: float | None = None
    lying_mib: float | None = None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="coi-web bench terminal", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=200, help="through the PTY, a multiple of 20")
    parser.add_argument("--keystrokes", type=int, default=1000)
    parser.add_argument("--only", nargs="*", choices=("throughput", "echo", "memory", "start"), default=None)
    options = parser.parse_args(arguments)
    wanted = set(options.only or ("throughput", "echo", "memory", "start"))
    _say("Starting a panel, a container, Daphne and terminado …")
    with stage() as found:
        uvloop.run(_run(found, options.rounds, options.megabytes, options.keystrokes, wanted))
    return 0


async def _run(found: Stage, rounds: int, megabytes: int, keystrokes: int, wanted: set[str]) -> None:
    figures: dict[str, Figures] = defaultdict(Figures)
    starts: dict[str, list[float]] = {"panel": [], "incus": []}
    for number in range(rounds):
        for path in PATHS[number % len(PATHS) :] + PATHS[: number % len(PATHS)]:
            _say(f"Round {number + 1} of {rounds}: {path}")
            spec, mine = found.specs[path], figures[path]
            if "throughput" in wanted:
                async with opened(spec) as end:
                    mine.throughput.append(await measure.throughput(end, megabytes))
            if "echo" in wanted:
                async with opened(spec) as end:
                    mine.quiet.append(await measure.echo(end, keystrokes, pause_s=0.002))
                async with flooded(spec), opened(spec) as end:
                    mine.beside_flood.append(await measure.echo(end, keystrokes, pause_s=0.002))
        if "start" in wanted:
            starts["panel"].append(await _start_by_panel(found, number))
            starts["incus"].append(await _start_by_incus(found, number))
    if "memory" in wanted:
        for path, pid in found.pids.items():
            _say(f"Memory with {STALLED_SOCKETS} browsers that do not read: {path}")
            await _warm_up(found.specs[path])
            figures[path].stalled_mib = await _growth(found.specs[path], pid, lies=False)
            if path != "terminado":
                figures[path].lying_mib = await _growth(found.specs[path], pid, lies=True)
    _print_table(figures, starts, rounds, megabytes)


@asynccontextmanager
async def opened(spec: Spec) -> AsyncIterator[End]:
    end = await open_end(spec)
    try:
        yield end
    finally:
        await end.close()


@asynccontextmanager
async def flooded(spec: Spec) -> AsyncIterator[None]:
    """A second terminal by the same way with ``yes`` in it, read by a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.flooder", json.dumps(spec), cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            if await process.stdout.readline() != b"flowing\n":
                raise RuntimeError("the flood did not begin")
        yield
    finally:
        process.kill()
        await process.wait()


async def _warm_up(spec: Spec) -> None:
    async with opened(spec) as end:
        await measure.throughput(end, 40)


async def _growth(spec: Spec, pid: int, *, lies: bool) -> float:
    """MiB that one browser costs at most which stops reading, or says it had read what it has not."""
    before = most = rss_mib(pid)
    # The lie grows more slowly than the flood, so one terminal must have the machine for itself.
    ends = [await open_end(spec) for _ in range(1 if lies else STALLED_SOCKETS)]
    try:
        for end in ends:
            await measure.prompt(end)
            await end.send(measure.FAST_FLOOD_COMMAND)
        await asyncio.sleep(0.5)
        told = 0
        deadline = time.monotonic() + STALLED_S
        while time.monotonic() < deadline:
            await asyncio.sleep(0.005)
            most = max(most, rss_mib(pid))
            if lies:
                told += 65536
                for end in ends:
                    assert isinstance(end, WebEnd)
                    await end.claim(told)
    finally:
        for end in ends:
            await end.abort()
    await asyncio.sleep(0.5)
    return (most - before) / len(ends)


async def _start_by_panel(found: Stage, number: int) -> float:
    """Seconds from asking for a session (what the page's button does) to the shell's prompt."""
    panel, token = found.panel, found.token
    slug = await asyncio.to_thread(make_workspace, panel, token, f"start{number}")
    started = time.perf_counter()
    status, made = await asyncio.to_thread(
        panel.api, token, "POST", "sessions/", {"workspace": slug, "mode": "ephemeral"}
    )
    assert status < 300, made
    name = str((made.get("session") or made)["name"])
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(_runs, found, name):  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(START_POLL_S)
    spec = dict(found.specs["uvicorn"], url=f"{panel.url}/ws/sessions/{name}/terminal/")
    async with opened(spec) as end:
        await measure.read_until(end, b"$ ")
        took = time.perf_counter() - started
    status, body = await asyncio.to_thread(panel.api, token, "POST", f"sessions/{name}/kill/")
    assert status < 300, body
    return took


def _runs(found: Stage, name: str) -> bool:
    session = found.panel.api(found.token, "GET", f"sessions/{name}/")[1]
    return bool(session["state"] == "running")


async def _start_by_incus(found: Stage, number: int) -> float:
    """Seconds for ``incus launch`` of the same image and a shell by exec to its prompt."""
    name, lab = f"launched{number}", found.lab.name
    command = ["incus", "launch", IMAGE, name, "--project", lab, "--no-profiles", "--storage", lab]
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, "--network", lab, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert await process.wait() == 0, "incus launch failed"
    end = await RawEnd.open(lab, name, ["sh", "-l"])
    try:
        await measure.read_until(end, b"$ ")
        return time.perf_counter() - started
    finally:
        await end.close()
        await asyncio.to_thread(found.lab.api.stop_instance, name, force=True)
        await asyncio.to_thread(found.lab.api.delete_instance, name)


# The table.


def _print_table(
    figures: dict[str, Figures], starts: dict[str, list[float]], rounds: int, megabytes: int
) -> None:
    raw = figures["raw"]
    rows = [["", *PATHS, "target"]]
    every = [figures[path] for path in PATHS]
    if raw.throughput:
        rows.append([f"{megabytes} MB through a PTY, MB/s", *(_median(f.throughput, 1) for f in every), ""])
        base = statistics.median(raw.throughput)
        ratios = [f"{statistics.median(f.throughput) / base:.2f}" for f in every]
        rows.append(["  × raw", *ratios, ">= 0.8"])
    for name, echoes, target in (
        ("echo quiet", [f.quiet for f in every], "p99 <= 2"),
        ("echo beside a flood", [f.beside_flood for f in every], "p99 <= 5"),
    ):
        if raw.quiet:
            rows.append([f"{name}, p50 ms", *(_median((e.p50_ms for e in one), 2) for one in echoes), ""])
            rows.append([f"{name}, p99 ms", *(_median((e.p99_ms for e in one), 2) for one in echoes), target])
    if any(f.stalled_mib is not None for f in every):
        rows.append(["memory per stalled reader, MiB", *(_one(f.stalled_mib) for f in every), "<= 4"])
        rows.append(["  that acknowledges all the same", *(_one(f.lying_mib) for f in every), "<= 4"])
    cores, load = os.cpu_count(), os.getloadavg()[1]
    _say(
        f"\nMedians of {rounds} interleaved rounds; {cores} cores, load average of the last 5 minutes {load:.1f}"
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        _say("  ".join(cells))
    if starts["panel"]:
        panel, incus = (statistics.median(starts[name]) for name in ("panel", "incus"))
        _say(
            f"\nStart of the tiny image to its prompt: panel {panel:.2f} s, incus launch and exec {incus:.2f} s,"
            f" ratio {panel / incus:.2f} (target <= 2)"
        )
    _say("\nRounds: " + json.dumps(_raw_figures(figures, starts)))


def _raw_figures(figures: dict[str, Figures], starts: dict[str, list[float]]) -> dict[str, object]:
    found: dict[str, object] = {
        path: {
            "mb_s": [round(value, 1) for value in mine.throughput],
            "quiet_p50_p99": [(round(e.p50_ms, 2), round(e.p99_ms, 2)) for e in mine.quiet],
            "flood_p50_p99": [(round(e.p50_ms, 2), round(e.p99_ms, 2)) for e in mine.beside_flood],
        }
        for path, mine in figures.items()
    }
    found["start_s"] = {name: [round(value, 2) for value in values] for name, values in starts.items()}
    return found


def _median(values: Iterable[float], digits: int) -> str:
    found = list(values)
    return f"{statistics.median(found):.{digits}f}" if found else "–"


def _one(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _say(text: str) -> None:
    print(text, flush=True)
