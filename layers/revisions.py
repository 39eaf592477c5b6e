"""Which revision a request means."""

from __future__ import annotations

from datetime import UTC, datetime

from layers.errors import QueryRefused
from layers.store import Store

REVISION = """
    SELECT max(revision) FILTER (WHERE $2::timestamptz IS NULL OR made_at <= $2) AS revision,
           min(revision) AS first, min(made_at) AS since
    FROM quartier.public_revisions WHERE layer_id = $1"""


async def resolve(store: Store, layer_id: str, parameter: str, asked: str) -> int:
    """The revision that a number or an instant means; raises QueryRefused for none."""
    moment: datetime | None = None
    if not (asked.isascii() and asked.isdigit()):
        try:
            moment = datetime.fromisoformat(asked)
            _ = moment.astimezone(UTC)  # one at the end of all time may have no UTC
        except (ValueError, OverflowError):
            fix = "write a revision such as 12, or an instant such as 2026-10-05T14:30:00Z"
            raise QueryRefused(parameter, asked, fix) from None
        if moment.tzinfo is None:
            raise QueryRefused(parameter, asked, "say its time zone, such as Z or +02:00")
    row = await store.fetchrow(REVISION, layer_id, moment)
    newest, first = row["revision"], row["first"] or 0
    kept = f"the past is kept from revision {first} on"
    kept += f", which is of {row['since']:%Y-%m-%dT%H:%M:%SZ}" if row["since"] else ""
    if moment is not None:
        if newest is None:
            raise QueryRefused(parameter, asked, kept if first > 1 else "the layer had no rows yet")
        return int(newest)
    if len(asked) > 18 or int(asked) > (newest or 0):
        raise QueryRefused(parameter, asked, f"the newest revision is {newest or 0}")
    if first > 1 and int(asked) < first:
        raise QueryRefused(parameter, asked, kept)
    return int(asked)
