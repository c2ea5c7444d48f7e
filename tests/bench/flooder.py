"""A browser that looks at a flood, in a process of its own: ``python -m tests.bench.flooder '<spec>'``.

Says ``flowing`` once the flood runs, and reads on until it is killed.
"""

from __future__ import annotations

import json
import sys

import uvloop

from tests.bench import measure
from tests.bench.ends import open_end


async def main() -> None:
    end = await open_end(json.loads(sys.argv[1]))
    await measure.flood(end, on_flowing=lambda: print("flowing", flush=True))


if __name__ == "__main__":
    uvloop.run(main())
