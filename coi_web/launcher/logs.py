"""Log files that stay small, and reading them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

#: Size at which a log file is put aside, and how many of those are kept.
MAX_BYTES = 5 * 1024 * 1024
KEEP = 3


class LogFile:
    """Appends bytes; at the bound the file becomes ``NAME.1`` and so on, the oldest goes.

    A disk that is full loses log lines, never the process whose lines they are.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._stream = os.fdopen(descriptor, "ab", buffering=0)
        self._size = self.path.stat().st_size

    def write(self, data: bytes) -> None:
        if self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        try:
            self._size += self._stream.write(data) or 0
        except OSError:
            return

    def _rotate(self) -> None:
        self._stream.close()
        for number in range(self._keep, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                newer.replace(older)
        self._open()

    def close(self) -> None:
        self._stream.close()


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file; empty where it is missing."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            # Long lines are cut rather than the whole file being read.
            stream.seek(max(0, size - lines * 1000))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]


def show(paths: Iterable[Path], *, lines: int, stream: TextIO) -> None:
    """Prints the last lines of each file, with its name where there are several."""
    files = list(paths)
    for path in files:
        prefix = f"{path.stem:<8} " if len(files) > 1 else ""
        for line in tail(path, lines):
            stream.write(f"{prefix}{line}\n")
    stream.flush()


def follow(
    paths: Iterable[Path],
    *,
    stream: TextIO,
    wait: Callable[[], None] = lambda: time.sleep(0.3),
    go_on: Callable[[], bool] = lambda: True,
) -> None:
    """Prints what is appended from now on, across rotations, for as long as ``go_on()`` says so."""
    files = list(paths)
    places = {path: (_inode(path), path.stat().st_size if path.exists() else 0) for path in files}
    while go_on():
        for path in files:
            inode, offset = places[path]
            if _inode(path) != inode:
                inode, offset = _inode(path), 0
            try:
                with path.open("rb") as source:
                    source.seek(offset)
                    data = source.read()
            except OSError:
                continue
            # Half a line waits for its other half.
            whole = data[: data.rfind(b"\n") + 1]
            prefix = f"{path.stem:<8} " if len(files) > 1 else ""
            for line in whole.decode("utf-8", "replace").splitlines():
                stream.write(f"{prefix}{line}\n")
            places[path] = (inode, offset + len(whole))
        stream.flush()
        wait()


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
