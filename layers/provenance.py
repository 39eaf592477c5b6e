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
    told: dict[str, Any] = {
        "provenance": {
            "run": row["run"],
            "loaded": row["finished_at"],
            "revision": row["revision"],
            "sources": orjson.loads(row["sources"]),
            "rows": row["rows"],
            "configuration": row["config_hash"],
            "software": f"quartier {row['tool_version']}",
        }
    }
    if row["rows"] is None:  # of a private layer: it would tell how many rows are not published
        del told["provenance"]["rows"]
        return told
    says = f"{row['withheld']:,} of {row['rows']:,} rows withheld".replace(",", "\u202f")
    told["withheld"] = {"rows": row["withheld"], "of": row["rows"], "says": says}
    return told


PRIVACY = "SELECT withheld FROM quartier.public_privacy WHERE layer_id = $1"


async def read_privacy(store: Store, layer: Layer) -> dict[str, Any]:
    """`privacy`: the policies of a layer, and about how many rows they publish nothing of, in
    fives; nothing for a layer without.
    """
    if layer.privacy is None:
        return {}
    row = await store.fetchrow(PRIVACY, layer.id)
    withheld = row["withheld"] if row is not None else 0
    told = layer.privacy.model_dump(mode="json", exclude_defaults=True)
    says = "some places, times and columns are coarser than the source has them, or left out"
    return {"privacy": told | {"rowsWithheld": withheld, "says": says}}
