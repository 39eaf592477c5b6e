"""What a server process runs: settings from the environment, parts, application."""

from __future__ import annotations

from api.app import Parts, create_app
from api.settings import ApiSettings
from api.tile_path import App


def create() -> App:
    """The factory that granian calls in each worker."""
    return create_app(Parts.from_settings(ApiSettings()))
