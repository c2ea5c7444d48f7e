"""Sweeps up after a supervisor that was killed: ``python -I -S guard.py`` with a pipe on standard input.

The kernel kills the supervisor's direct children (see child.py) but not *their* children.  The supervisor
writes ``+GROUP`` and ``-GROUP`` lines, one process group per child; when the pipe ends without ``bye``,
every group still listed is killed.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = set()
    for line in sys.stdin:
        word = line.strip()
        if word == "bye":
            return
        if word.startswith("+"):
            groups.add(int(word[1:]))
        elif word.startswith("-"):
            groups.discard(int(word[1:]))
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
