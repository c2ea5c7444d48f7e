from django.apps import AppConfig


class PanelConfig(AppConfig):
    """The frame: base templates, template tags, system checks and commands of the panel itself."""

    name = "coi_web"
    label = "coi_panel"
    verbose_name = "COI Web"

    def ready(self) -> None:
        from coi_web import checks  # noqa: F401
