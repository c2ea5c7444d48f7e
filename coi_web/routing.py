"""Websocket addresses."""

from django.urls import path, re_path

from coi_web.consumers import LiveConsumer, NoSuchSocket
from sessions.terminals.consumer import TerminalConsumer

websocket_urlpatterns = [
    path("ws/live/", LiveConsumer.as_asgi()),
    path("ws/sessions/<str:key>/terminal/", TerminalConsumer.as_asgi()),
    re_path(r"", NoSuchSocket.as_asgi()),
]
