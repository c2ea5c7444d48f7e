from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from coi_web.audit.services import verify_chain


class Command(BaseCommand):
    help = "audit verify: check the hash chain of the audit log; exit 1 where it is broken"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", choices=["verify"])

    def handle(self, *args: Any, **options: Any) -> None:
        verdict = verify_chain()
        if not verdict.is_whole:
            raise CommandError(f"broken at event {verdict.broken_at}: {verdict.reason}")
        self.stdout.write(f"whole: {verdict.checked} events")
