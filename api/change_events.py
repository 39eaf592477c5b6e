"""What `/changes` says: the state of layers, what changed between two states, and the text of it.

A state is a revision for each layer. Nothing is queued for anyone: what a client has not heard
yet follows from the state it knows and the log, however long it was away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, NamedTuple

import orjson

from layers.catalog import PublishedLayer
from layers.change_cells import EVERYWHERE
from layers.changes import ChangeLog
from layers.errors import QueryRefused

VECTOR = re.compile(r"[a-z][a-z0-9_]{0,47}:[0-9]{1,18}(,[a-z][a-z0-9_]{0,47}:[0-9]{1,18})*", re.A)
RETRY = b"retry: 3000\n\n"
HEARTBEAT = b":\n\n"


class Known(NamedTuple):
    """What a client knows of a layer; it cannot name a configuration when it comes back."""

    revision: int
    configuration: str | None = None


Published = Mapping[str, PublishedLayer]
State = Mapping[str, Known]
Logs = Callable[[str], ChangeLog]


def parse_vector(parameter: str, text: str) -> dict[str, int]:
    """Read `layer:revision,…`, the id of an event; raises QueryRefused."""
    if not VECTOR.fullmatch(text):
        raise QueryRefused(parameter, text, "use the id of an event as it stands: layer:revision,…")
    pairs = (pair.split(":") for pair in text.split(","))
    return {layer_id: int(revision) for layer_id, revision in pairs}


def state_of(layers: Published) -> dict[str, Known]:
    return {
        layer_id: Known(layer.revision, layer.config_hash)
        for layer_id, layer in sorted(layers.items())
    }


def describe(layers: Published) -> dict[str, Any]:
    """Every layer as it is now. A client that comes back compares the configuration."""
    return {layer_id: _now(layer) for layer_id, layer in sorted(layers.items())}


def changes_between(before: State, layers: Published, logs: Logs) -> dict[str, Any]:
    """For each layer that is no more as it was: its revision and the cells that were touched."""
    told = {
        layer_id: change
        for layer_id, layer in layers.items()
        if (change := _change(before.get(layer_id), layer, logs(layer_id)))
    }
    gone = {
        layer_id: {"revision": known.revision, "withdrawn": True, **_everything()}
        for layer_id, known in before.items()
        if layer_id not in layers
    }
    return dict(sorted((told | gone).items()))


def _change(known: Known | None, layer: PublishedLayer, log: ChangeLog) -> dict[str, Any] | None:
    cells = None
    if known is not None and known.configuration in (None, layer.config_hash):
        if known.revision == layer.revision:
            return None
        cells = log.cells_since(known.revision)
    touched = _everything() if cells is None else {"cells": [[*cell] for cell in cells]}
    return _now(layer) | touched


def _everything() -> dict[str, Any]:
    """The one cell of zoom 0 says it too, to those who do not look for `all`."""
    return {"all": True, "cells": [[*EVERYWHERE]]}


def _now(layer: PublishedLayer) -> dict[str, Any]:
    changed = layer.changed_at
    updated = changed.astimezone(UTC).isoformat() if changed else None
    return {
        "revision": layer.revision,
        "updated": updated,
        "configuration": layer.config_hash[:12],
    }


def event(name: str, state: State, layers: Mapping[str, Any]) -> bytes:
    """The text of one event, whose id is the state that a client knows when it has read it."""
    vector = ",".join(f"{layer_id}:{known.revision}" for layer_id, known in sorted(state.items()))
    return (
        f"id: {vector}\nevent: {name}\ndata: ".encode() + orjson.dumps({"layers": layers}) + b"\n\n"
    )
