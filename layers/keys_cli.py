"""`quartier keys`: who may come in by the officer's door."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
import typer
from rich.console import Console

from layers.commands import opened_database, who_and_why
from layers.errors import LayersError
from layers.keys import NewKey, Scope, audit, create_key, list_keys, revoke_key, until
from layers.settings import StoreSettings

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="Make and revoke keys for /runs, and see their use.")
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(  # noqa: PLR0913
    name: Annotated[str, typer.Option(help="Whose it is, and where it is used.")],
    scope: Annotated[list[Scope], typer.Option(help="What it is for; may be repeated.")],
    by: Annotated[str, typer.Option(help="Who makes it.")],
    expires: Annotated[
        str | None, typer.Option(help="The last day it is valid, such as 2027-06-30.")
    ] = None,
    layers: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this layer; may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once. Keep it where passwords are kept.

    Example: quartier keys create --name "Ana's desk" --scope runs:read --scope runs:accept --by Ana
    """
    who, _ = who_and_why(by, name)
    new = _checked(name, scope, layers or [], expires)
    key = _do(lambda connection: create_key(connection, new, by=who))
    if as_json:
        sys.stdout.write(json.dumps({"key": key, "name": new.name}) + "\n")
        return
    Console(stderr=True).print(
        "The key, shown this once; it is sent as Authorization: Bearer …", highlight=False
    )
    sys.stdout.write(key + "\n")


def _checked(name: str, scopes: list[Scope], layers: list[str], expires: str | None) -> NewKey:
    try:
        return NewKey(
            name=name.strip(),
            scopes=tuple(dict.fromkeys(scopes)),
            layers=tuple(layers),
            expires_at=until(expires) if expires else None,
        )
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """Print every key there was: never the key itself, which nobody has but its owner."""
    found = _do(list_keys)
    if as_json:
        sys.stdout.write(json.dumps(found, default=str) + "\n")
        return
    console = Console()
    for key in found:
        reach = ", ".join(key["layers"]) if key["layers"] else "all layers"
        ends = f", until {_minute(key['expires_at'])}" if key["expires_at"] else ""
        used = f"last used {_minute(key['last_used_at'])}" if key["last_used_at"] else "never used"
        said = (
            f"{key['id']}  {key['state']:<7}  {key['name']}: {', '.join(key['scopes'])}"
            f" on {reach}{ends}; {used}"
        )
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    if not found:
        console.print("There are no keys; make one with quartier keys create.", highlight=False)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `list` prints it.")],
    by: Annotated[str, typer.Option(help="Who revokes it.")],
    note: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """Make a key useless, from the next request on, in every process.

    Example: quartier keys revoke k3v9x2m1qa --by "Ana Lee" --note "the laptop was lost"
    """
    who, why = who_and_why(by, note)
    _do(lambda connection: revoke_key(connection, key_id, by=who, note=why))
    Console(stderr=True).print(f"key {key_id} is revoked", highlight=False)


@app.command("audit")
def audit_(
    key_id: Annotated[str | None, typer.Argument(help="Only of this key.")] = None,
    most: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Print what was done to keys and with them: who, when, what, where and why."""
    found = _do(lambda connection: audit(connection, key_id=key_id, most=most))
    if as_json:
        sys.stdout.write(json.dumps(found, default=str) + "\n")
        return
    for entry in found:
        Console().print(_line(entry), markup=False, highlight=False, soft_wrap=True)


def _line(entry: dict[str, Any]) -> str:
    on = "".join(f" {word} {entry[word]}" for word in ("layer", "run") if entry[word] is not None)
    return (
        f"{_minute(entry['done_at'])}  {entry['action']:<8}  {entry['key']} ({entry['name']})"
        f"{on} by {entry['by']}: {entry['note']}"
    )


def _minute(instant: Any) -> str:
    return str(instant.isoformat(" ", "minutes"))


def _do(work: Callable[[sa.Connection], T]) -> T:
    try:
        with opened_database(StoreSettings()) as (_, engine), engine.begin() as connection:
            return work(connection)
    except LayersError as exc:
        Console(stderr=True).print(str(exc), markup=False, highlight=False, style="red")
        raise typer.Exit(1) from exc
