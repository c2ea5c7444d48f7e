"""Becomes a supervised process: ``python -I -S child.py PARENT_PID COMMAND…``.

Asks the kernel to kill this process when its parent dies, then becomes the command; the request survives
the exec.  Run as a file, without importing anything of ours, because every process pays for it.
"""

import ctypes
import os
import signal
import sys

#: From linux/prctl.h.
PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    # The parent may have died before the request was made; then nobody would ever kill us.
    if os.getppid() != parent:
        sys.exit("the supervisor has gone")
    try:
        os.execvp(command[0], command)  # noqa: S606 - a vector, no shell
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main()
