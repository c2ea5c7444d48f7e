from django.apps import AppConfig


class PanelConfig(AppConfig):
    """The frame: base templates, template tags, system checks and commands of the panel itself."""

    name = "coi_web"
    label = "coi_panel"
    verbose_name = "COI Web"

    def ready(self) -> None:
        from coi_web import checks  # noqa: F401
        from coi_web.celery import app

        # Tasks that the web process sends are ours to configure, in whatever thread a view runs.
        app.set_default()
