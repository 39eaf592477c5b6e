"""The city that is measured: real if it lies beside the checkout, else the sample city."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml

from benchmarks.datasets import MADE, WHOLE, DataSet, make, vacuum
from layers.catalogue_files import read_catalogue
from layers.cluster import Cluster
from layers.database_urls import DatabaseUrls
from layers.model import Layer
from layers.setup import prepare_database

ROOT = Path(__file__).resolve().parents[1]
QUARTIER = [sys.executable, "-m", "quartier"]  # of this checkout, whatever is installed
DEEPEST = 17  # the last zoom that is asked for
STAYS = "BENCHMARK_HOME"  # names a home that is used again, with what was made in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A declared layer of points and the file that holds it; `name` begins those of its copies."""

    name: str
    declaration: Path
    file: Path
    longitude: str
    latitude: str
    says: str


MEXICO = Source(
    name="mexico",
    declaration=ROOT / "tests/real/catalogue/layers/mexico_crimes.yaml",
    file=ROOT.parent / "shared/data/mexico-city/cdmx_fgj_carpetas_2019_2025.csv.gz",
    longitude="longitud",
    latitude="latitud",
    says="Mexico City: 1 302 640 reported crimes.",
)
SAMPLE = Source(
    name="city",
    declaration=ROOT / "data/catalogue/layers/crimes.yaml",
    file=ROOT / "data/sample/crimes.csv.gz",
    longitude="longitude",
    latitude="latitude",
    says="The sample city's 120 000 crimes, for want of ../shared/data; the figures in"
    " docs/benchmarks.md are of Mexico City.",
)


@dataclass(slots=True, kw_only=True)
class City:
    """A cluster of its own in a temporary home. Its layers are declared, and filled once asked."""

    source: Source
    layers: Mapping[DataSet, Layer]
    home: Path
    urls: DatabaseUrls

    @property
    def says(self) -> str:
        return self.source.says

    @property
    def layer(self) -> Layer:
        """The layer of the rows as they were ingested."""
        return self.layers[WHOLE]

    def environment(self, **more: str) -> Mapping[str, str]:
        """What a `quartier` command needs to find this city."""
        kept = {name: value for name, value in os.environ.items() if "QUARTIER" not in name}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)  # or each command compiles all that it imports
        own = {"QUARTIER_HOME": str(self.home), "QUARTIER_CATALOGUE": str(self.home / "catalogue")}
        return kept | own | more

    def quartier(self, *arguments: str, **environment: str) -> None:
        """Run a command to its end, silently unless it fails."""
        done = subprocess.run(
            [*QUARTIER, *arguments], env=self.environment(**environment), cwd=ROOT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"quartier {' '.join(arguments)}:\n{done.stdout}{done.stderr}")

    def load(self, wanted: DataSet = WHOLE) -> Layer:
        """Have the rows in the layer, which is given; does nothing the second time."""
        layer = self.layers[wanted]
        if self._is_loaded(layer):
            return layer
        if wanted is WHOLE:
            self.quartier("ingest", layer.id, str(self.source.file))
        else:
            source = self.load()
            print(f"  making the layer of {wanted.says} rows …", flush=True)
            make(self.urls.ingest, source, layer, wanted)
        vacuum(self.urls.ingest, layer)
        return layer

    def _is_loaded(self, layer: Layer) -> bool:
        state = "SELECT revision > 0 FROM quartier.layer_state WHERE layer_id = %s"
        with psycopg.connect(self.urls.owner) as connection:
            found = connection.execute(state, (layer.id,)).fetchone()
        return found is not None and bool(found[0])


@contextmanager
def benchmark_city() -> Iterator[City]:
    """A city that is gone, with its cluster, when the block ends."""
    source = MEXICO if MEXICO.file.exists() and MEXICO.declaration.exists() else SAMPLE
    if source is SAMPLE and not SAMPLE.file.exists():
        subprocess.run([sys.executable, "-m", "data.sample_city", "data/sample"], cwd=ROOT,
                       check=True)  # fmt: skip
    with _home() as home:
        layers = _declare(source, home / "catalogue")
        with Cluster(home).hold() as urls:
            prepare_database(urls.owner)
            city = City(source=source, layers=layers, home=home, urls=urls)
            city.quartier("apply")
            yield city


@contextmanager
def _home() -> Iterator[Path]:
    if named := os.environ.get(STAYS):
        Path(named).mkdir(parents=True, exist_ok=True)
        yield Path(named)
        return
    home = Path(tempfile.mkdtemp(prefix="quartier-bench-"))
    home.chmod(0o755)  # the server may run as another user
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _declare(source: Source, catalogue: Path) -> dict[DataSet, Layer]:
    """A catalogue of one layer for each data set."""
    folder = catalogue / "layers"
    folder.mkdir(parents=True, exist_ok=True)
    names = {WHOLE: source.declaration.stem} | {each: source.name + each.suffix for each in MADE}
    declared = yaml.safe_load(source.declaration.read_text(encoding="utf-8"))
    for wanted, name in names.items():
        said = declared | {"id": name} | _zooms(wanted)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    layers = read_catalogue(catalogue).layers
    return {wanted: layers[name] for wanted, name in names.items()}


def _zooms(wanted: DataSet) -> dict[str, Any]:
    """Tiles at every zoom that is measured, with counts by month where there are counts."""
    overview: dict[str, object] = {"bucket": "month"}
    if wanted.detail_zoom is not None:
        overview = {"detail_zoom": wanted.detail_zoom}
    return {"minzoom": 0, "maxzoom": DEEPEST, "overview": overview}
