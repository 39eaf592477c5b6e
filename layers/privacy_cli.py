"""`quartier privacy`: look at what the public would see, and renew what it is derived from."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.table import Table

from layers.catalogue_files import read_catalogue
from layers.commands import opened_database
from layers.errors import ChangeRefused, LayersError
from layers.history import declared_layer
from layers.privacy import Policy
from layers.privacy_preview import PolicySeen, Preview, preview
from layers.privacy_steps import derive_anew
from layers.settings import StoreSettings

app = typer.Typer(no_args_is_help=True, help="Look at what the public sees of a private layer.")
LayerArgument = Annotated[str, typer.Argument(help="The layer's id.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("preview")
def show_preview(
    layer: LayerArgument,
    rows: Annotated[int, typer.Option(min=0, max=1000, help="How many rows to show.")] = 6,
    as_json: JsonOption = False,
) -> None:
    """Say what the declared policies make of the rows that are there. Publishes nothing.

    Exact rows are among what it prints: show it to nobody who may not see them.

    Example: quartier privacy preview crimes --rows 20
    """
    settings = StoreSettings()
    try:
        files = read_catalogue(settings.catalogue)
        with opened_database(settings) as (_, engine):
            seen = preview(engine, files, layer, rows)
    except LayersError as exc:
        _fail(exc)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(seen)) + "\n")
        return
    _print(seen)


@app.command()
def renew(layer: LayerArgument) -> None:
    """Take the areas and the points to snap to as they are now, and publish every row by them.

    Until then they stay as they were, so that no published place moves by itself.

    Example: quartier privacy renew crimes
    """
    try:
        with opened_database(StoreSettings()) as (_, engine), engine.begin() as connection:
            declared = declared_layer(connection, layer)
            if declared.privacy is None:
                raise ChangeRefused(f"layer {layer} has no privacy to renew")
            derive_anew(connection, declared, borders=True)
            found = sa.text("SELECT revision FROM quartier.layer_state WHERE layer_id = :layer")
            revision = connection.scalar(found, {"layer": layer})
    except LayersError as exc:
        _fail(exc)
    Console().print(f"{layer} is published anew, revision {revision}.", highlight=False)


def _fail(exc: LayersError) -> Any:
    Console(stderr=True).print(str(exc), markup=False, highlight=False, style="red")
    raise typer.Exit(1) from exc


def _as_json(seen: Preview) -> dict[str, Any]:
    return {
        "layer": seen.layer,
        "policies": [
            {
                "values": each.values,
                "policy": each.policy.model_dump(mode="json", exclude={"values"}),
                "rows": each.rows,
                "methods": each.methods,
                "median_m": each.median_m,
                "farthest_m": each.farthest_m,
                "fewest": each.fewest,
            }
            for each in seen.policies
        ],
        "rows": [{"exact": exact, "published": published} for exact, published in seen.rows],
    }


def _says(policy: Policy) -> str:
    parts = [str(policy.location)]
    if policy.kept_time != "exact":
        parts.append(f"time: {policy.kept_time}")
    if policy.hide:
        parts.append(f"without {', '.join(policy.hide)}")
    return "; ".join(parts)


def _moved(seen: PolicySeen) -> str:
    if seen.median_m is None or seen.farthest_m is None:
        return ""
    return f"{seen.median_m:,.0f} m, at most {seen.farthest_m:,.0f} m"


def _print(seen: Preview) -> None:
    table = Table(title=f"What the public sees of {seen.layer}")
    for head in ("rows with", "policy", "rows", "published as", "moved", "rows a place"):
        table.add_column(head)
    for each in seen.policies:
        methods = ", ".join(f"{name} {n:,}" for name, n in sorted(each.methods.items()))
        fewest = "" if each.fewest is None else f"{each.fewest:,} or more"
        table.add_row(
            ", ".join(each.values) or "anything else", _says(each.policy), f"{each.rows:,}",
            methods, _moved(each), fewest,
        )  # fmt: skip
    out = Console()
    out.print(table)
    for exact, published in seen.rows:
        out.print(f"exact      {json.dumps(exact, ensure_ascii=False)}", markup=False, style="dim")
        told = "nothing" if published is None else json.dumps(published, ensure_ascii=False)
        out.print(f"published  {told}\n", markup=False)
