"""What `quartier apply` does about tilesets. Files are named and never opened or changed."""

from __future__ import annotations

import sqlalchemy as sa

from layers.catalogue_files import CatalogueFiles
from layers.layer_steps import Step
from layers.tilesets import Tileset

UPSERT = """
    INSERT INTO quartier.tilesets (id, declaration, file)
    VALUES (:id, CAST(:declaration AS jsonb), :file)
    ON CONFLICT (id) DO UPDATE
    SET declaration = excluded.declaration, file = excluded.file, withdrawn = false"""
HIDE = "UPDATE quartier.tilesets SET withdrawn = true WHERE id = :id"


def plan_tilesets(connection: sa.Connection, files: CatalogueFiles) -> list[Step]:
    """The steps from the tilesets that are there to those declared."""
    rows = connection.execute(
        sa.text("SELECT id, declaration, file FROM quartier.tilesets WHERE NOT withdrawn")
    )
    known = {row.id: (Tileset.model_validate(row.declaration), row.file) for row in rows}
    steps = []
    for tileset in files.tilesets.values():
        file = (files.paths[tileset.id].parent / tileset.file).absolute()
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
