from django.apps import AppConfig


class SessionsConfig(AppConfig):
    """Django's own app owns the label ``sessions``."""

    name = "sessions"
    label = "coi_sessions"
    verbose_name = "Sessions"

    def ready(self) -> None:
        from sessions import audit_actions, operations

        audit_actions.register()
        operations.register()
