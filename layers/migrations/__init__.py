"""The steps that bring a database to the newest schema."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from layers.engine import postgis_schema, run_ddl


def run_sql_beside(script: str) -> None:
    """Run the .sql file of a migration's name; `@postgis@` in it is the schema of PostGIS."""
    connection = op.get_bind()
    statements = Path(script).with_suffix(".sql").read_text(encoding="utf-8")
    run_ddl(connection, statements.replace("@postgis@", postgis_schema(connection)))
