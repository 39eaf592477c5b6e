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

import yaml

from layers.catalogue_files import read_catalogue
from layers.cluster import Cluster
from layers.database_urls import DatabaseUrls
from layers.model import Layer
from layers.setup import prepare_database

ROOT = Path(__file__).resolve().parents[1]
QUARTIER = [sys.executable, "-m", "quartier"]  # of this checkout, whatever is installed
DEEPEST = 17  # the cold benchmark asks for tiles down to this zoom


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A declared layer of points and the file that holds it."""

    declaration: Path
    file: Path
    longitude: str
    latitude: str
    says: str


MEXICO = Source(
    declaration=ROOT / "tests/real/catalogue/layers/mexico_crimes.yaml",
    file=ROOT.parent / "shared/data/mexico-city/cdmx_fgj_carpetas_2019_2025.csv.gz",
    longitude="longitud",
    latitude="latitud",
    says="Mexico City: 1 302 640 reported crimes.",
)
SAMPLE = Source(
    declaration=ROOT / "data/catalogue/layers/crimes.yaml",
    file=ROOT / "data/sample/crimes.csv.gz",
    longitude="longitude",
    latitude="latitude",
    says="The sample city's 120 000 crimes, for want of ../shared/data; the figures in"
    " docs/benchmarks.md are of Mexico City.",
)


@dataclass(slots=True, kw_only=True)
class City:
    """A cluster of its own in a temporary home, with one layer applied and, once asked, loaded."""

    source: Source
    layer: Layer
    home: Path
    urls: DatabaseUrls
    loaded: bool = False

    @property
    def says(self) -> str:
        return self.source.says

    def environment(self, **more: str) -> Mapping[str, str]:
        """What a `quartier` command needs to find this city."""
        kept = {name: value for name, value in os.environ.items() if "QUARTIER" not in name}
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

    def load(self) -> None:
        """Have the rows in the layer; does nothing the second time."""
        if not self.loaded:
            self.quartier("ingest", self.layer.id, str(self.source.file))
            self.loaded = True


@contextmanager
def benchmark_city() -> Iterator[City]:
    """A city that is gone, with its cluster, when the block ends."""
    source = MEXICO if MEXICO.file.exists() and MEXICO.declaration.exists() else SAMPLE
    if source is SAMPLE and not SAMPLE.file.exists():
        subprocess.run([sys.executable, "-m", "data.sample_city", "data/sample"], cwd=ROOT,
                       check=True)  # fmt: skip
    home = Path(tempfile.mkdtemp(prefix="quartier-bench-"))
    home.chmod(0o755)  # the server may run as another user
    try:
        layer = _declare(source, home / "catalogue")
        with Cluster(home).hold() as urls:
            prepare_database(urls.owner)
            city = City(source=source, layer=layer, home=home, urls=urls)
            city.quartier("apply")
            yield city
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _declare(source: Source, catalogue: Path) -> Layer:
    """A catalogue of the one layer, with tiles at every zoom that is measured."""
    declared = yaml.safe_load(source.declaration.read_text(encoding="utf-8"))
    folder = catalogue / "layers"
    folder.mkdir(parents=True)
    path = folder / source.declaration.name
    path.write_text(yaml.safe_dump(declared | {"minzoom": 0, "maxzoom": DEEPEST}), encoding="utf-8")
    return read_catalogue(catalogue).layers[path.stem]
