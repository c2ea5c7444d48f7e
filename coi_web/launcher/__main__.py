"""Entry of ``python -m coi_web.launcher``."""

import sys

from coi_web.launcher.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
