"""``python -m tests.bench NAME``; the launcher's ``./coi-web bench NAME`` comes here."""

from __future__ import annotations

import sys

from tests.bench import terminal

_BENCHMARKS = {"terminal": terminal.main}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in _BENCHMARKS:
        print(f"usage: coi-web bench {{{','.join(_BENCHMARKS)}}} [options]", file=sys.stderr)
        return 2
    return _BENCHMARKS[arguments[0]](arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
