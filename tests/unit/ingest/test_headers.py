from __future__ import annotations

import pytest

from ingest.errors import SourceRefused
from ingest.headers import Headers, fold
from tests.unit.ingest.making import Folder, layer_of, take

SPELLINGS = ["Débit horaire", "debit_horaire", "DEBIT  HORAIRE", "De\u0301bit-Horaire "]


@pytest.mark.parametrize("header", SPELLINGS)
def test_case_accents_and_blanks_do_not_matter(header: str) -> None:
    assert Headers("f", [header, "other"]).find("débit horaire") == header


def test_the_exact_header_goes_before_one_that_is_alike() -> None:
    assert Headers("f", ["NOM", "nom"]).find("nom") == "nom"


def test_two_headers_alike_are_refused() -> None:
    with pytest.raises(SourceRefused, match=r"could be any of the headers 'NOM', 'Nom'"):
        Headers("f", ["NOM", "Nom"]).find("nom")


@pytest.mark.parametrize(
    ("wanted", "header"),
    [
        ("gestionnaire", "gestionnai"),
        ("Espèce", "Espce"),
        ("Variété", "VArit"),
        ("Libellé court", "LIBELLECOU"),
        ("code_postal", "code_posta"),
    ],
)
def test_a_shapefile_cuts_and_drops_letters(wanted: str, header: str) -> None:
    assert Headers("f", [header, "x"], cut=True).find(wanted) == header
    assert Headers("f", [header, "x"]).find(wanted) is None


def test_a_missing_column_is_refused_with_the_nearest(folder: Folder) -> None:
    with pytest.raises(SourceRefused) as refused:
        take(layer_of({"name": "height", "from": "hauteur (m)"}), folder.text("id;Hauteur\n1;2\n"))
    text = str(refused.value)
    assert "things.csv: no column for 'height' from 'hauteur (m)'" in text
    assert "did you mean 'Hauteur'?" in text
    assert "The headers are 'id', 'Hauteur'" in text


def test_an_optional_column_may_be_missing(folder: Folder) -> None:
    layer = layer_of("a", {"name": "b", "type": "integer", "optional": True})
    assert take(layer, folder.text("a,c\n1,2\n")).column("b") == [None]


def test_one_header_for_two_columns_by_spelling_is_refused(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"'NOM' is meant by 'nom', 'le_nom'"):
        take(layer_of("nom", {"name": "le_nom", "from": "Nom"}), folder.text("NOM\nx\n"))


def test_a_header_spelt_otherwise_is_told(folder: Folder) -> None:
    taken = take(layer_of("code_postal"), folder.text("Code Postal\n75001\n"))
    assert taken.column("code_postal") == ["75001"]
    assert taken.notes["headers_spelt_otherwise"] == {"code_postal": "Code Postal"}


def test_folding_keeps_words_apart() -> None:
    assert fold("  Surface (m2) ") == "surface_m2"
