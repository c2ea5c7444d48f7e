from django.urls import path

from coi_web.operations import views

app_name = "operations"

urlpatterns = [
    path("", views.operation_list, name="list"),
    path("drawer/", views.drawer, name="drawer"),
    path("badge/", views.badge, name="badge"),
    path("<uuid:public_id>/", views.detail, name="detail"),
    path("<uuid:public_id>/cancel/", views.cancel, name="cancel"),
]
