"""libpq URLs for each role, on the embedded cluster or on a server that is already there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from layers.errors import StoreUnavailable
from layers.settings import StoreSettings

DATABASE = "quartier"  # the database of an embedded cluster
PORT = 5432  # names the socket file; given in full so that PGPORT cannot change it
REACH_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUrls:
    """libpq URLs, one for each role; psycopg, asyncpg and ADBC all read them.

    `owner` may create extensions, roles and schemas. The roles behind the others exist only
    after the first migration. Printing one shows none, since each may hold a password.
    """

    owner: str = field(repr=False)
    ingest: str = field(repr=False)
    officer: str = field(repr=False)
    web: str = field(repr=False)


def embedded_urls(socket_dir: Path) -> DatabaseUrls:
    """URLs of the cluster that listens in `socket_dir`, each role logging in as itself."""

    def login(role: str) -> str:
        return f"postgresql://{role}@/{DATABASE}?host={socket_dir}&port={PORT}"

    return DatabaseUrls(
        owner=login("postgres"),
        ingest=login("quartier_ingest"),
        officer=login("quartier_officer"),
        web=login("quartier_web"),
    )


def existing_urls(settings: StoreSettings) -> DatabaseUrls:
    """URLs of the server that the settings name. Raises StoreUnavailable without it."""
    if settings.database_url is None:
        raise ValueError("no QUARTIER_DATABASE_URL")
    owner = _libpq_url(settings.database_url.get_secret_value(), "QUARTIER_DATABASE_URL")
    urls = DatabaseUrls(
        owner=owner,
        ingest=acting_as(owner, "quartier_ingest"),
        officer=_own_login(settings.officer_database_url, "officer", owner),
        web=_own_login(settings.web_database_url, "web", owner),
    )
    check_reachable(owner)
    return urls


def _own_login(url: SecretStr | None, role: str, owner: str) -> str:
    """The URL that the settings name for a role, or the owner's login in that role."""
    if url is None:
        return acting_as(owner, f"quartier_{role}")
    return _libpq_url(url.get_secret_value(), f"QUARTIER_{role.upper()}_DATABASE_URL")


def acting_as(url: str, role: str) -> str:
    """The same login with its role set from the start of each connection.

    Weaker than a login of its own: the session may always `RESET ROLE`.
    """
    options = quote(f"-c role={role}", safe="")
    if "options=" in (query := urlsplit(url).query):
        merged = re.sub(r"(^|&)options=([^&]*)", rf"\g<1>options=\g<2>%20{options}", query)
        return url.replace(query, merged)
    return f"{url}{'&' if query else '?'}options={options}"


def check_reachable(url: str) -> None:
    """Raise StoreUnavailable, naming host and port and never the password, if nobody answers."""
    parts = conninfo_to_dict(url)
    try:
        psycopg.connect(url, connect_timeout=REACH_TIMEOUT_S).close()
    except psycopg.OperationalError as exc:
        where = f"{parts.get('host', 'the local socket')}, port {parts.get('port', PORT)}"
        reason = " ".join(str(exc).split())
        if password := parts.get("password"):
            reason = reason.replace(str(password), "***")
        raise StoreUnavailable(f"PostgreSQL at {where} cannot be used: {reason}") from None


def _libpq_url(url: str, setting: str) -> str:
    """Without the driver that SQLAlchemy writes after `postgresql`; checked for form."""
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url.strip())
    example = f"{setting} is not a URL such as postgresql://user:password@host:5432/city"
    if not plain.startswith("postgresql://"):
        raise StoreUnavailable(example)
    try:
        parts = conninfo_to_dict(plain)
    except psycopg.Error:
        raise StoreUnavailable(example) from None
    # A password with a bare @ or / would be taken for a host or port, and then be printed.
    if "@" in str(parts.get("host", "")) or not re.fullmatch(r"[\d,]*", str(parts.get("port", ""))):
        raise StoreUnavailable(f"{example}: write @ as %40, : as %3A and / as %2F in a password")
    return plain
