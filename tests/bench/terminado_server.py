"""terminado as its documentation serves it: ``python -m tests.bench.terminado_server <port>``.

Its shell runs on this machine and not in a container, which spares it the way through Incus.
"""

from __future__ import annotations

import asyncio
import sys

from terminado.management import UniqueTermManager
from terminado.websocket import TermSocket
from tornado.web import Application


async def main() -> None:
    manager = UniqueTermManager(shell_command=["sh"], max_terminals=20)
    application = Application([(r"/socket", TermSocket, {"term_manager": manager})])
    application.listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
