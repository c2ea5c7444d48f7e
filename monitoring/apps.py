from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    name = "monitoring"
    label = "coi_monitoring"
    verbose_name = "Monitoring"
