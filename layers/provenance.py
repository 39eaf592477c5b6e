"""Where a layer's rows come from, as anybody may know it."""

from __future__ import annotations

from typing import Any

import orjson

from layers.model import Layer
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


PRIVACY = "SELECT withheld, withholds FROM quartier.public_privacy WHERE layer_id = $1"


async def read_privacy(store: Store, layer: Layer) -> dict[str, Any]:
    """`privacy`: the policies of a layer, and how many rows they publish nothing of; nothing for a
    layer without. A few rows are told as "fewer than 5".
    """
    if layer.privacy is None:
        return {}
    row = await store.fetchrow(PRIVACY, layer.id)
    withheld: object = 0
    if row is not None and row["withholds"]:
        withheld = row["withheld"] or "fewer than 5"
    told = layer.privacy.model_dump(mode="json", exclude_defaults=True)
    says = "some places, times and columns are coarser than the source has them, or left out"
    return {"privacy": told | {"rowsWithheld": withheld, "says": says}}
