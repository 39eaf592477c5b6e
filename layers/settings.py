"""Where the data is kept. Made by whoever starts a process, never at import."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT_HOME = Path("/var/lib/quartier")  # the postgres user cannot reach into root's own home
CATALOGUE = Path(__file__).resolve().parent.parent / "data" / "catalogue"


def default_home() -> Path:
    if os.geteuid() == 0:
        return ROOT_HOME
    return platformdirs.user_data_path("quartier")


class StoreSettings(BaseSettings):
    """Values from the environment, prefixed `QUARTIER_`. An empty variable counts as unset."""

    model_config = SettingsConfigDict(
        env_prefix="QUARTIER_", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="URL of an existing PostGIS database, as the owner of its schemas; "
        "without one Quartier runs its own",
    )
    web_database_url: SecretStr | None = Field(
        default=None,
        description="URL of the same database for reading, logged in as a member of quartier_web; "
        "without one the owner's login sets that role, which is weaker",
    )
    officer_database_url: SecretStr | None = Field(
        default=None,
        description="URL of the same database for requests that carry a key, logged in as a member"
        " of quartier_officer; without one the owner's login sets that role, which is weaker",
    )
    home: Path = Field(
        default_factory=default_home,
        description="directory of all state: the embedded PostGIS, caches, archives",
    )
    catalogue: Path = Field(
        default=CATALOGUE, description="directory of the YAML files that declare layers and maps"
    )

    @property
    def raw(self) -> Path:
        """Where the files that were loaded are kept."""
        return self.home / "raw"

    @property
    def rasters(self) -> Path:
        """Where rasters that were made fit for tiles are kept."""
        return self.home / "rasters"

    @field_validator("home", "catalogue")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()
