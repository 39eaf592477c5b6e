"""The list of commands says of each what it says itself, and imports none of them."""

from __future__ import annotations

import pytest

from quartier import COMMANDS, imported
from tests.imports import HEAVY, importing, quartier


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_a_command_says(name: str) -> None:
    _, says = COMMANDS[name]
    first, _, _ = str(imported(name).help).partition("\n\n")
    assert " ".join(first.split()) == says


def test_every_command_is_listed_by_its_name_and_none_is_imported() -> None:
    ran = quartier("--help", COLUMNS="200")
    rows = [line.strip("│ ") for line in ran.stdout.splitlines() if line.startswith("│")]
    listed = [row.split()[0] for row in rows if not row.startswith("--")]
    assert (ran.exit_code, listed) == (0, [*COMMANDS])
    assert ran.packages & {"layers", "ingest", "tiles", "styles", "api", "sqlalchemy"} == set()


def test_a_name_that_is_no_command_is_refused() -> None:
    ran = quartier("ingests")
    assert (ran.exit_code, "ingest" in ran.packages) == (2, False)


def test_what_ingest_imports_at_first_is_light() -> None:
    ran = importing("ingest.cli")
    assert (ran.exit_code, sorted(ran.packages & HEAVY)) == (0, [])
