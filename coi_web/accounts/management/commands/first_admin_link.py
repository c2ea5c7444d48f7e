from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from coi_web.accounts.models import User
from coi_web.accounts.services import create_sign_in_link, create_user
from coi_web.audit.actors import SYSTEM


class Command(BaseCommand):
    help = (
        "Print a one-time sign-in link for the first administrator; nothing where one has a password already"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--base-url", required=True)
        parser.add_argument("--user", default="", help="make a link for this account, whatever its state")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["user"]:
            user = User.objects.get(username=options["user"], is_active=True)
        else:
            administrators = list(User.objects.filter(is_superuser=True, is_active=True))
            if any(one.has_usable_password() for one in administrators):
                return
            user = (
                administrators[0]
                if administrators
                else create_user(
                    actor=SYSTEM, username="admin", display_name="Administrator", is_administrator=True
                )
            )
        token = create_sign_in_link(actor=SYSTEM, user=user)
        self.stdout.write(f"{options['base_url'].rstrip('/')}/sign-in/{token}/")
