"""The ASGI application: pages and API by Django, sockets by Channels."""

import gc
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coi_web.settings.embedded")
os.environ.setdefault("PYLXD_WARNINGS", "none")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402 - apps must be ready first
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import get_resolver  # noqa: E402

from coi_web.routing import websocket_urlpatterns  # noqa: E402
from coi_web.web import SameOriginSocket, lifespan  # noqa: E402
from sessions.terminals.daphne import with_backpressure  # noqa: E402

application = with_backpressure(
    ProtocolTypeRouter(
        {
            "http": django_application,
            "lifespan": lifespan,
            "websocket": SameOriginSocket(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
        }
    )
)

# Everything that is loaded lives as long as the process.  Looking through it for garbage took 0.12 s, in
# which no terminal echoed; the pages are loaded first, so that they count too.
_ = get_resolver().url_patterns
gc.collect()
gc.freeze()
