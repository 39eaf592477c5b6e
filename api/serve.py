"""Run the web server: granian, a raw ASGI application, several worker processes."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels

from api.settings import ApiSettings
from layers.errors import LayersError

BACKLOG = 2048  # requests that wait or are worked on, all workers together


class PortTaken(LayersError):
    """Another program listens where we should."""


def check_port(settings: ApiSettings) -> None:
    """Raise PortTaken, with the fix, before any work is begun in vain."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as exc:
            raise PortTaken(
                f"port {settings.port} on {settings.host} is taken; choose another,"
                " with PORT (make up) or QUARTIER_PORT, for example PORT=8001 make up"
            ) from exc


def default_cache(home: Path) -> str:
    """Where workers share finished tiles unless the operator says otherwise."""
    return (home / "cache" / "tiles").as_uri()


def serve(
    web_url: str, settings: ApiSettings, home: Path, *, officer_url: str | None = None
) -> None:
    """Serve until SIGINT or SIGTERM. Workers read their settings from the environment."""
    os.environ["QUARTIER_WEB_DATABASE_URL"] = web_url
    if officer_url is not None:
        os.environ["QUARTIER_OFFICER_DATABASE_URL"] = officer_url
    if settings.cache_url is None:
        os.environ["QUARTIER_CACHE_URL"] = default_cache(home)
    with tempfile.TemporaryDirectory(prefix="quartier-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        _serve(settings)


def _serve(settings: ApiSettings) -> None:
    Granian(
        "api.main:create",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        workers=settings.workers,
        factory=True,
        log_access=False,
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
        workers_kill_timeout=5,
        backlog=BACKLOG,
        # An open stream counts as a request at work; it must not take a tile's place.
        backpressure=max(1, BACKLOG // settings.workers) + settings.streams,
    ).serve()
