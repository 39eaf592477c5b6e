"""What the public would see of a layer: its privacy tried in a transaction that is undone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from layers.apply import execute, plan
from layers.catalogue_files import CatalogueFiles
from layers.errors import ChangeRefused, LayerNotFound
from layers.model import Layer
from layers.privacy import Policy
from layers.privacy_rows import CLASS, POLICY, privacy_of, public_fid
from layers.sql import ident
from layers.tables import CITY, rows_table

WAIT = "SET LOCAL lock_timeout = '10s'"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySeen:
    """What one policy does to the rows there are. Distances are metres from the exact place to the
    published one; `fewest` is how many rows the loneliest published place stands for.
    """

    values: list[str]
    policy: Policy
    rows: int
    methods: dict[str, int]
    median_m: float | None
    farthest_m: float | None
    fewest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is seen of each policy, and of some rows before and after, chosen by chance."""

    layer: str
    policies: list[PolicySeen]
    rows: list[tuple[dict[str, Any], dict[str, Any] | None]]


def preview(engine: sa.Engine, files: CatalogueFiles, layer_id: str, rows: int) -> Preview:
    """Try what is declared on the rows that are there, look, and undo it.

    Raises LayerNotFound, and ChangeRefused for a layer without privacy.
    """
    layer = files.layers.get(layer_id)
    if layer is None:
        raise LayerNotFound(layer_id)
    if layer.privacy is None:
        raise ChangeRefused(f"layer {layer_id} declares no privacy: every row is published whole")
    with engine.connect() as connection, connection.begin() as tried:
        connection.execute(sa.text(WAIT))
        execute(connection, plan(connection, files))
        seen = Preview(
            layer=layer_id,
            policies=[
                _seen(connection, layer, n) for n in range(len(privacy_of(layer).policies) + 1)
            ],
            rows=_some_rows(connection, layer, rows),
        )
        tried.rollback()
    return seen


def _seen(connection: sa.Connection, layer: Layer, number: int) -> PolicySeen:
    privacy = privacy_of(layer)
    policy = privacy.all_policies[number]
    values = (
        [] if policy is privacy.otherwise else [str(v) for v in privacy.policies[number].values]
    )
    pairs = (
        f"{rows_table(layer)} r LEFT JOIN {CITY}.{ident(layer.id)} c"
        f" ON c.fid = {public_fid('r.fid')}"
        f" WHERE r.{POLICY} = :number"
    )
    asked = {"number": number}
    rows = int(connection.scalar(sa.text(f"SELECT count(*) FROM {pairs}"), asked) or 0)
    if not layer.has_geometry:
        return PolicySeen(
            values=values, policy=policy, rows=rows, methods={}, median_m=None, farthest_m=None,
            fewest=None,
        )  # fmt: skip
    methods = connection.execute(
        sa.text(
            f"SELECT coalesce(c.location_method, 'withheld'), count(*) FROM {pairs} GROUP BY 1"
        ),
        asked,
    )
    far = "ST_DistanceSphere(r.geom, c.geom)"
    median, farthest = connection.execute(
        sa.text(
            f"SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY {far}), max({far}) FROM {pairs}"
        ),
        asked,
    ).one()
    fewest = connection.scalar(
        sa.text(
            f"SELECT min(n) FROM (SELECT count(*) AS n FROM {pairs} AND c.location_method"
            f" IN ('grid', 'area', 'snap') GROUP BY c.geom, c.location_area, r.{CLASS}) g"
        ),
        asked,
    )
    return PolicySeen(
        values=values, policy=policy, rows=rows, methods={row[0]: row[1] for row in methods},
        median_m=median, farthest_m=farthest, fewest=fewest,
    )  # fmt: skip


def _some_rows(
    connection: sa.Connection, layer: Layer, most: int
) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Exact rows and what is published of them: of each policy some."""
    place = ", ST_AsText(geom, 6) AS place" if layer.has_geometry else ""
    exact = ", ".join(ident(column.name) for column in layer.columns)
    shown = ", ".join(ident(column.name) for column in layer.as_published().columns)
    found = connection.execute(
        sa.text(
            f"SELECT (SELECT row_to_json(e) FROM (SELECT {exact}{place}) e)::text,"
            f" (SELECT row_to_json(p) FROM (SELECT {shown}{place} FROM {CITY}.{ident(layer.id)} c"
            f" WHERE c.fid = {public_fid('r.fid')}) p)::text"
            f" FROM (SELECT *, row_number() OVER (PARTITION BY {POLICY} ORDER BY random()) AS"
            f' "#chance" FROM {rows_table(layer)}) r'
            f' ORDER BY "#chance", {POLICY} LIMIT :most'
        ),
        {"most": most},
    )
    return [(json.loads(was), json.loads(is_) if is_ else None) for was, is_ in found]
