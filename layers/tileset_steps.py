"""What `quartier apply` does about tilesets. Files are named and never opened or changed."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from layers.catalogue_files import CatalogueFiles, declared_file
from layers.kept_rasters import served_file
from layers.layer_steps import Step
from layers.tilesets import Tileset

UPSERT = """
    INSERT INTO quartier.tilesets (id, declaration, file)
    VALUES (:id, CAST(:declaration AS jsonb), :file)
    ON CONFLICT (id) DO UPDATE
    SET declaration = excluded.declaration, file = excluded.file, withdrawn = false"""
HIDE = "UPDATE quartier.tilesets SET withdrawn = true WHERE id = :id"


def plan_tilesets(
    connection: sa.Connection, files: CatalogueFiles, rasters: Path | None = None
) -> list[Step]:
    """The steps from the tilesets that are there to those declared. `rasters` holds what
    `quartier ingest` made of a declared raster, which is then served in its place.
    """
    rows = connection.execute(
        sa.text("SELECT id, declaration, file FROM quartier.tilesets WHERE NOT withdrawn")
    )
    known = {row.id: (Tileset.model_validate(row.declaration), row.file) for row in rows}
    steps = []
    for tileset in files.tilesets.values():
        file = declared_file(files, tileset.id)
        if rasters is not None:
            file = served_file(rasters, tileset.id, file)
        if known.get(tileset.id) == (tileset, str(file)):
            continue
        verb = "change" if tileset.id in known else "create"
        missing = "" if file.exists() else ", which is not there yet"
        declaration = tileset.model_dump_json(by_alias=True, exclude_defaults=True)
        values = {"id": tileset.id, "declaration": declaration, "file": str(file)}
        says = f"{verb} tileset {tileset.id} ({tileset.file}{missing})"
        steps.append(Step(says=says, statements=((UPSERT, values),)))
    return steps + [
        Step(says=f"withdraw tileset {gone} (its file stays)", statements=((HIDE, {"id": gone}),))
        for gone in known
        if gone not in files.tilesets
    ]


def served_now(connection: sa.Connection, tileset_id: str) -> Path | None:
    """The file that is served; None for a tileset that is not published."""
    found = connection.scalar(
        sa.text("SELECT file FROM quartier.tilesets WHERE id = :id AND NOT withdrawn"),
        {"id": tileset_id},
    )
    return None if found is None else Path(found)


def serve_file(connection: sa.Connection, tileset_id: str, file: Path) -> None:
    """Have this file served from now on."""
    changed = connection.execute(
        sa.text(
            "UPDATE quartier.tilesets SET file = :file"
            " WHERE id = :id AND NOT withdrawn AND file <> :file"
        ),
        {"id": tileset_id, "file": str(file)},
    )
    if changed.rowcount:
        connection.execute(sa.text("SELECT pg_notify('quartier', '')"))
