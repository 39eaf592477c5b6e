"""The command `quartier`: mounts each package's own commands and strings them together.

A command's modules are imported when it is called, and what it seldom needs when it needs it.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

# Where each command is, and the first sentences of its help, so that none has to be imported to
# list them all.
COMMANDS = {
    "up": (
        "quartier_start:up",
        "Start PostGIS, apply the catalogue, load what it names, and serve. Ctrl-C stops it all.",
    ),
    "serve": (
        "quartier_start:serve",
        "Serve what is there: start PostGIS and the web, load nothing.",
    ),
    "apply": (
        "layers.cli:apply",
        "Create, change and withdraw layers, maps and tilesets as data/catalogue declares.",
    ),
    "inspect": (
        "ingest.inspect_cli:inspect",
        "Read FILES to the end and publish nothing: say what is in them and what would be"
        " withheld.",
    ),
    "ingest": (
        "ingest.cli:ingest",
        "Load FILES into LAYER: read, check, merge by key, publish in one transaction.",
    ),
    "quarantine": (
        "ingest.quarantine_cli:app",
        "Look at what is withheld from a layer, and mend it.",
    ),
    "runs": (
        "ingest.runs_cli:app",
        "Look at runs, and accept one that gates stopped.",
    ),
    "history": (
        "layers.history_cli:app",
        "Look at the revisions of a layer, and go back.",
    ),
    "privacy": (
        "layers.privacy_cli:app",
        "Look at what the public sees of a private layer.",
    ),
    "keys": (
        "layers.keys_cli:app",
        "Make and revoke keys for /runs, and see their use.",
    ),
    "purge": (
        "quartier_purge:purge",
        "Erase a row from its layer, history, quarantine, kept files and caches, for good.",
    ),
    "backup": (
        "layers.backup_cli:backup",
        "Write all layers, their history, runs and kept files into FILE, while the server goes on.",
    ),
    "restore": (
        "layers.backup_cli:restore",
        "Put a backup into an empty QUARTIER_HOME, compare every row, bring it up to date.",
    ),
    "tile": (
        "tiles.cli:tile",
        "Print what a tile of LAYER holds, as the web would answer it.",
    ),
    "export": (
        "tiles.cli:export",
        "Put all tiles of LAYER, as they are at one moment, into FILE, which is replaced.",
    ),
    "bake": (
        "api.bake_cli:bake",
        "Make the tiles of LAYERS that are not in the shared cache yet. Cut off, it goes on next"
        " time.",
    ),
    "doctor": (
        "quartier_doctor:doctor",
        "Say what is wrong with this machine, home, database and settings, and how to mend it.",
    ),
}


class Commands(TyperGroup):
    """The commands by their names."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command as a list shows it; None where there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        _, says = COMMANDS[cmd_name]
        return TyperCommand(cmd_name, help=says)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, imported now."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, imported(name) if name else None, rest


def imported(name: str) -> Any:
    """The command of this name, as it runs."""
    place, _ = COMMANDS[name]
    module, _, function = place.partition(":")
    found = getattr(import_module(module), function)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    one = typer.Typer(add_completion=False)
    one.command(name)(found)
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
    finally:
        gc.freeze()  # looking for garbage in all that was imported would take 0.1 s of the exit


if __name__ == "__main__":
    main()
