"""Other tile servers on the same rows, where they are on PATH. None is ever installed or built.

martin is a program of that name; tipg is an application, so it is there where `tipg` can be
imported by the Python beside the `uvicorn` that is on PATH. Both read Quartier's own tables.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import yaml

from benchmarks.city import City
from benchmarks.servers import free_port, running
from layers.catalog import Bounds
from layers.columns import Column, ColumnType
from layers.model import Layer
from layers.tables import CITY, type_name
from tiles.address import TileAddress

MARTIN_TYPES = {ColumnType.DATETIME: "timestamptz", ColumnType.TEXT: "varchar"}
MARTIN_CACHE_MB = 512  # its default, where it is there


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that runs, and how it addresses a tile of a layer."""

    name: str
    url: str
    path: Callable[[Layer, TileAddress], str]


@contextmanager
def peers_serving(city: City, *, caching: bool) -> Iterator[list[Peer]]:
    """All that are on PATH. `caching`: with their own caches as they come, else without any."""
    with ExitStack() as stack:
        found = []
        if shutil.which("martin"):
            found.append(stack.enter_context(_martin(city, MARTIN_CACHE_MB if caching else 0)))
        if (python := _python_of_tipg()) is not None:
            found.append(stack.enter_context(_tipg(city, python)))
        yield found


@contextmanager
def _martin(city: City, cache_mb: int) -> Iterator[Peer]:
    port = free_port()
    config = city.home / f"martin-{port}.yaml"
    tables = {layer.id: _martin_table(layer) for layer in city.layers.values()}
    said = {
        "listen_addresses": f"127.0.0.1:{port}",
        "cache_size_mb": cache_mb,
        "worker_processes": 2,
        "postgres": {
            "connection_string": _percent_url(city.urls.owner),
            "pool_size": 8,
            "auto_publish": False,
            "tables": tables,
        },
    }
    config.write_text(yaml.safe_dump(said))
    command = ["martin", "--config", str(config)]
    with running(command, os.environ, f"http://127.0.0.1:{port}", "/health") as url:
        yield Peer("martin", url, lambda layer, at: f"/{layer.id}/{at.z}/{at.x}/{at.y}")


def _martin_table(layer: Layer) -> Mapping[str, object]:
    """The stored column in EPSG:3857, which is the quickest that martin can read."""
    return {
        "schema": CITY,
        "table": layer.id,
        "srid": 3857,
        "geometry_column": "tile_geom",
        "id_column": "fid",
        "extent": 4096,
        "buffer": 64,
        "clip_geom": True,
        "geometry_type": "POINT",
        "properties": {column.name: _martin_type(column) for column in layer.tile_columns},
    }


def _martin_type(column: Column) -> str:
    return MARTIN_TYPES.get(column.type) or type_name(column.type).lower()


def _python_of_tipg() -> Path | None:
    uvicorn = shutil.which("uvicorn")
    if uvicorn is None:
        return None
    python = Path(uvicorn).with_name("python")
    done = subprocess.run([python, "-c", "import tipg"], capture_output=True, check=False)
    return python if done.returncode == 0 else None


@contextmanager
def _tipg(city: City, python: Path) -> Iterator[Peer]:
    """Two workers, tiles cut at its default of 10 000 features; it keeps none."""
    port = free_port()
    configured = {
        f"TIPG_TABLE_CONFIG__{CITY}_{layer.id}__{name}": said
        for layer in city.layers.values()
        for name, said in _tipg_table(layer).items()
    }
    environment = os.environ | configured | {
        "DATABASE_URL": _percent_url(city.urls.owner),
        "TIPG_DB_SCHEMAS": f'["{CITY}"]',
        "TIPG_DB_SPATIAL_EXTENT": "FALSE",
        "TIPG_DB_DATETIME_EXTENT": "FALSE",
        "TIPG_DB_FUNCTIONS": "[]",
    }  # fmt: skip
    command = [str(python), "-m", "uvicorn", "tipg.main:app", "--port", str(port),
               "--workers", "2", "--log-level", "warning"]  # fmt: skip
    served: AbstractContextManager[str] = running(
        command, environment, f"http://127.0.0.1:{port}", "/healthz"
    )
    with served as url:
        yield Peer("tipg", url, _tipg_path)


def _tipg_table(layer: Layer) -> Mapping[str, str]:
    names = ",".join(f'"{column.name}"' for column in layer.tile_columns)
    return {"geomcol": "tile_geom", "pk": "fid", "properties": f"[{names}]"}


def _tipg_path(layer: Layer, at: TileAddress) -> str:
    return f"/collections/{CITY}.{layer.id}/tiles/WebMercatorQuad/{at.z}/{at.x}/{at.y}"


def _percent_url(url: str) -> str:
    """The socket's folder in the place of the host, as every driver understands it."""
    parts = urlsplit(url)
    said = dict(parse_qsl(parts.query))
    return (
        f"postgresql://{parts.username}@{quote(said['host'], safe='')}:{said['port']}{parts.path}"
    )


@dataclass(frozen=True, slots=True)
class ItemsPeer:
    """A server that runs, and how it addresses a page of the city's layer by a box."""

    name: str
    url: str
    path: Callable[[Bounds, int], str]


@contextmanager
def items_peers_serving(city: City) -> Iterator[list[ItemsPeer]]:
    """tipg, where it is on PATH: the same columns, the geometry that has an index."""
    python = _python_of_tipg()
    if python is None:
        yield []
        return

    def path(box: Bounds, limit: int) -> str:
        said = ",".join(f"{number:.7f}" for number in box)
        return f"/collections/{CITY}.{city.layer.id}/items?bbox={said}&limit={limit}&f=geojson"

    with _tipg(city, python) as peer:
        yield [ItemsPeer("tipg", peer.url, path)]
