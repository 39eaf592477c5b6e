"""Where a layer's rows come from, as anybody may know it."""

from __future__ import annotations

from typing import Any

import orjson

from layers.store import Store

PROVENANCE = """
    SELECT run, finished_at, revision, tool_version, config_hash, rows, withheld,
           sources::text AS sources
    FROM quartier.public_provenance WHERE layer_id = $1"""


async def read_provenance(store: Store, layer_id: str) -> dict[str, Any]:
    """`provenance` and `withheld` of the last load that read anything; nothing before the first."""
    row = await store.fetchrow(PROVENANCE, layer_id)
    if row is None:
        return {}
    return {
        "provenance": {
            "run": row["run"],
            "loaded": row["finished_at"],
            "revision": row["revision"],
            "sources": orjson.loads(row["sources"]),
            "rows": row["rows"],
            "configuration": row["config_hash"],
            "software": f"quartier {row['tool_version']}",
        },
        "withheld": {
            "rows": row["withheld"],
            "of": row["rows"],
            "says": f"{row['withheld']:,} of {row['rows']:,} rows withheld".replace(",", "\u202f"),
        },
    }
