"""What a server process runs: settings from the environment, parts, application."""

from __future__ import annotations

from api.app import Parts, create_app
from api.logs import configure
from api.settings import ApiSettings
from api.tile_path import App


def create() -> App:
    """The factory that granian calls in each worker."""
    configure()
    parts = Parts.from_settings(ApiSettings())
    return create_app(parts, on_start=parts.streams.close_on_signals)
