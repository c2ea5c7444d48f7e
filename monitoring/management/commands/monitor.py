"""``manage.py monitor``: the agent of one host."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand

from monitoring.runner import Agent


class Command(BaseCommand):
    help = "Follow what happens in Incus and keep the panel's picture of it true.  Ends on SIGTERM or Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(_run())


async def _run() -> None:
    agent = Agent()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()
