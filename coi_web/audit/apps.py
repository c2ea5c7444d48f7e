from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "coi_web.audit"
    label = "coi_audit"
    verbose_name = "Audit"
