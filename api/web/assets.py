"""What the build left in `dist`: which file an entry has become."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

DIST = Path(__file__).parent / "dist"


class PagesNotBuilt(Exception):
    """`dist` is missing or incomplete."""

    def __init__(self, missing: Path) -> None:
        super().__init__(
            f"{missing} is missing: run `make up`, or `npm ci && npm run build` in {DIST.parent}"
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """The files of one page, relative to `dist`: its script, what that imports, its look."""

    script: str
    imports: tuple[str, ...]
    look: str


@dataclass(frozen=True, slots=True)
class Assets:
    """A finished build. `glyph_ranges` names the letters there are for each font stack."""

    manifest: dict[str, Any]
    glyph_ranges: dict[str, list[str]]

    def entry(self, name: str) -> Entry:
        """The page whose sources are `src/{name}.ts` and `src/{name}.css`."""
        script = self.manifest[f"src/{name}.ts"]
        imports = tuple(self.manifest[key]["file"] for key in script.get("imports", ()))
        return Entry(script["file"], imports, self.manifest[f"src/{name}.css"]["file"])


def read_assets(dist: Path) -> Assets:
    """The build in `dist`; raises PagesNotBuilt."""
    return Assets(_json(dist / "manifest.json"), _json(dist / "glyphs" / "ranges.json"))


def assets() -> Assets:
    """The build beside this file, read again when it has been made anew."""
    letters = DIST / "glyphs" / "ranges.json"  # what a build writes last
    try:
        return _read_once(DIST, letters.stat().st_mtime_ns)
    except FileNotFoundError as exc:
        raise PagesNotBuilt(letters) from exc


@lru_cache(maxsize=1)
def _read_once(dist: Path, _made_at: int) -> Assets:
    return read_assets(dist)


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as exc:
        raise PagesNotBuilt(path) from exc
    return found
