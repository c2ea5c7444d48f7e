from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "coi_web.accounts"
    label = "coi_accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from coi_web.accounts import audit_actions, signals

        audit_actions.register()
        signals.connect()
