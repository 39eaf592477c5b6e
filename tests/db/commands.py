"""Commands of `quartier` on a database and a catalogue of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner, Result

from quartier import app
from tests.conftest import Database


@dataclass(frozen=True, slots=True)
class City:
    """A database, its catalogue, and a folder for files and as its home."""

    database: Database
    catalogue: Path
    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def declare(self, declared: dict[str, Any]) -> None:
        text = yaml.safe_dump(declared, allow_unicode=True)
        layers = self.catalogue / "layers"
        layers.mkdir(parents=True, exist_ok=True)
        (layers / f"{declared['id']}.yaml").write_text(text, encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "QUARTIER_DATABASE_URL": self.database.urls.owner,
            "QUARTIER_CATALOGUE": str(self.catalogue),
            "QUARTIER_HOME": str(self.home),
            "COLUMNS": "400",
        }

    def quartier(self, *arguments: str | Path, **more: str) -> Result:
        environment = self.environment | more
        return CliRunner(env=environment).invoke(app, [str(argument) for argument in arguments])

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path
