"""What the steps of a test run gave, and the table of them."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class Timer:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


@dataclass(frozen=True, slots=True)
class Counts:
    """Tests by outcome.  ``failed`` has the errors in it."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """One step; ``counts`` where it ran tests."""

    name: str
    is_ok: bool
    seconds: float
    note: str = ""
    counts: Counts | None = None


def read_counts(report: Path) -> Counts | None:
    """The counts in pytest's JUnit file; None where it wrote none.

    A test that was skipped has not shown anything; expected failures (``xfail``) count as passed.
    """
    try:
        # Our own pytest wrote it a moment ago.
        suites = ElementTree.parse(report).getroot().iter("testsuite")  # noqa: S314
    except (OSError, ElementTree.ParseError):
        return None
    passed = failed = skipped = 0
    for suite in suites:
        for case in suite.iter("testcase"):
            mark = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif mark is not None and mark.get("type") != "pytest.xfail":
                skipped += 1
            else:
                passed += 1
    return Counts(passed, failed, skipped)


def table(results: Sequence[Result], left_out: Sequence[str]) -> list[str]:
    """The lines after a run; the last is ``N passed, N failed``, summed over all suites."""
    width = max((len(result.name) for result in results), default=10)
    lines = ["", f"{'step':<{width}}  seconds  result"]
    for result in results:
        word = "ok" if result.is_ok else "FAILED"
        note = f"  {result.note}" if result.note else ""
        lines.append(f"{result.name:<{width}}  {result.seconds:7.1f}  {word}{note}")
    lines.append("")
    lines += [f"LEFT OUT: {what}" for what in left_out]
    broken = [result.name for result in results if not result.is_ok]
    if broken:
        lines.append(f"FAILED: {', '.join(broken)}")
    passed = sum(result.counts.passed for result in results if result.counts)
    failed = sum(result.counts.failed for result in results if result.counts)
    lines.append(f"{passed} passed, {failed} failed")
    return lines
