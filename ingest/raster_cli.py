"""`quartier ingest` and `quartier up` where a raster is meant and no layer."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from ingest.errors import IngestError
from ingest.rasters import RasterJob, ingest_raster
from layers.catalogue_files import CatalogueFiles, declared_file
from layers.errors import ChangeRefused, LayersError


def raster_job(
    catalogue: CatalogueFiles, tileset_id: str, files: Sequence[Path], folder: Path
) -> RasterJob:
    """The job of making this file, or the declared one, fit. Raises ChangeRefused."""
    tileset = catalogue.tilesets[tileset_id]
    if not tileset.is_raster:
        raise ChangeRefused(
            f"tileset {tileset_id} is an archive ({tileset.file}), which is served from where it"
            " lies: put the new file in its place"
        )
    if len(files) > 1:
        raise ChangeRefused(
            f"tileset {tileset_id} is one raster; join {len(files)} files first: gdal_merge.py or"
            " gdalwarp a.tif b.tif joined.tif"
        )
    return RasterJob(
        tileset=tileset,
        declared=declared_file(catalogue, tileset_id),
        given=files[0].absolute() if files else None,
        folder=folder,
    )


def publish_raster(ingest_url: str, job: RasterJob, *, as_json: bool) -> None:
    """Do it and say what became of it."""
    report = ingest_raster(ingest_url, job)
    if as_json:
        sys.stdout.write(json.dumps(asdict(report)) + "\n")
        return
    said = f"{report.tileset} {report.state} in {report.seconds:.1f} s:"
    Console().print(f"{said} {job.source.name} {report.says}", markup=False, highlight=False)


def load_rasters(
    ingest_url: str, catalogue: CatalogueFiles, console: Console, folder: Path
) -> None:
    """Make every declared raster fit that is there and new. One that is refused is told, and is
    served as it was.
    """
    for tileset_id, tileset in catalogue.tilesets.items():
        declared = declared_file(catalogue, tileset_id)
        if not (tileset.is_raster and declared.is_file()):
            continue
        job = RasterJob(
            tileset=tileset, declared=declared, given=None, folder=folder, once=True
        )  # fmt: skip
        try:
            report = ingest_raster(ingest_url, job)
        except (IngestError, LayersError) as exc:
            console.print(f"  {tileset_id}: refused: {exc}", markup=False, style="red")
            continue
        if report.state == "published":
            console.print(f"  {tileset_id}: {declared.name} {report.says}, {report.seconds:.1f} s")
