"""The command `quartier`: mounts each package's own commands and strings them together.

A command's modules are imported when it is called: all of them together take two seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from typer.core import TyperGroup

COMMANDS = {
    "up": "quartier_start:up",
    "serve": "quartier_start:serve",
    "apply": "layers.cli:apply",
    "inspect": "ingest.inspect_cli:inspect",
    "ingest": "ingest.cli:ingest",
    "quarantine": "ingest.quarantine_cli:app",
    "runs": "ingest.runs_cli:app",
    "history": "layers.history_cli:app",
    "privacy": "layers.privacy_cli:app",
    "keys": "layers.keys_cli:app",
    "purge": "quartier_purge:purge",
    "backup": "layers.backup_cli:backup",
    "restore": "layers.backup_cli:restore",
    "tile": "tiles.cli:tile",
    "export": "tiles.cli:export",
    "bake": "api.bake_cli:bake",
    "doctor": "quartier_doctor:doctor",
}


class Commands(TyperGroup):
    """The commands by their names."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported now; None where there is none of this name."""
        if (place := COMMANDS.get(cmd_name)) is None:
            return None
        module, _, function = place.partition(":")
        found = getattr(import_module(module), function)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        one = typer.Typer(add_completion=False)
        one.command(cmd_name)(found)
        return typer.main.get_command(one)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    help="The map server for city open data.",
)


@app.callback()
def _quartier() -> None:
    """The map server for city open data."""


def main() -> None:
    try:
        app()
    except ValidationError as exc:  # of the settings; everything else is checked at its own door
        from api.checks import shown

        for error in exc.errors():
            name = "QUARTIER_" + "_".join(str(part) for part in error["loc"]).upper()
            said = f"{name}={shown(name, error['input'])}: {error['msg']}"
            Console(stderr=True).print(said, style="red")
        raise SystemExit(1) from exc


if __name__ == "__main__":
    main()
