from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "coi_web.operations"
    label = "coi_operations"
    verbose_name = "Operations"

    def ready(self) -> None:
        from coi_web.audit.actions import register_action

        register_action("operation.cancel", "cancelled {target}")
