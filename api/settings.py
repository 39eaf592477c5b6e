"""What an operator may set for the web, read from the environment once."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.addresses import parse_networks
from tiles.shared import check_cache_url


class ApiSettings(BaseSettings):
    """Values from the environment, prefixed `QUARTIER_`."""

    model_config = SettingsConfigDict(
        env_prefix="QUARTIER_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    host: str = Field(default="127.0.0.1", description="Address the server listens on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port the server listens on.")
    workers: int = Field(default=2, ge=1, le=64, description="Server processes.")
    public_url: str | None = Field(
        default=None,
        description="Where people reach this server, such as https://maps.example.org;"
        " without it, the address they asked for.",
    )
    web_database_url: SecretStr | None = Field(
        default=None, description="Database of the readers; logs in as quartier_web."
    )
    officer_database_url: SecretStr | None = Field(
        default=None,
        description="Database of requests that carry a key; logs in as quartier_officer.",
    )
    cache_bytes: int = Field(
        default=256 * 1024 * 1024, ge=0, description="Memory for finished tiles, in each worker."
    )
    cache_url: SecretStr | None = Field(
        default=None,
        description="Where workers share finished tiles: redis://host:6379/0 (several machines),"
        " file:///a/folder, or memory: for nowhere; without it, a folder in the home.",
    )
    cache_disk_bytes: int = Field(
        default=2 * 1024**3, ge=0, description="Disk for finished tiles that workers share."
    )
    tile_connections: int = Field(
        default=4, ge=1, le=100, description="Database connections for tiles, in each worker."
    )
    query_connections: int = Field(
        default=3, ge=1, le=100, description="Database connections for the rest, in each worker."
    )
    streams: int = Field(
        default=1000, ge=0, description="Open streams of changes, in each worker, before a 503."
    )
    queue: int = Field(
        default=256, ge=0, description="Requests that may wait for a connection before a 503."
    )
    query_cost: float = Field(
        default=1_500_000.0,
        gt=0,
        description="What a question with a filter may cost, as PostgreSQL's planner estimates it,"
        " before it is refused with advice; about a page of 8 kB read in order is 1.",
    )
    filter_connections: int = Field(
        default=1,
        ge=1,
        le=100,
        description="Database connections for tiles with a filter, in each worker.",
    )
    filter_queue: int = Field(
        default=16,
        ge=0,
        description="Tiles with a filter that may wait for one of them before a 503.",
    )
    filter_timeout_s: float = Field(
        default=5.0, gt=0, le=600, description="Seconds a tile with a filter may take to be made."
    )
    filter_cost: float = Field(
        default=400_000.0,
        gt=0,
        description="What a tile with a filter may cost, in the planner's units, before it is"
        " refused with advice.",
    )
    rate_per_s: float = Field(
        default=200.0,
        ge=0,
        description="Questions a second that one address may ask of the API, tiles not counted,"
        " before a 429; 0 for no limit. Programs on this machine are not limited.",
    )
    rate_burst: int = Field(
        default=2_000, ge=1, description="Questions that one address may ask at once, beyond that."
    )
    trusted_proxies: str = Field(
        default="127.0.0.0/8,::1/128",
        description="Networks whose X-Forwarded-For is believed, separated by commas.",
    )
    log_requests: bool = Field(
        default=False,
        description="Log every request that is no tile; without it, those that took over a second.",
    )
    exports: int = Field(
        default=4, ge=1, description="Files of whole layers made at once, in each worker."
    )
    query_timeout_s: float = Field(
        default=10.0, gt=0, le=600, description="Seconds a query may run in the database."
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, said: str) -> str:
        parse_networks(said)
        return said

    @field_validator("cache_url")
    @classmethod
    def _a_cache(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_cache_url(url.get_secret_value())
        return url
