from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.gates import Acceptance, Finding, GatesHeld, findings_of, keys_finding
from ingest.lint import PERSONAL, Texts
from ingest.profile import Profile
from ingest.read import read
from ingest.sieve import Sieve
from layers.gates import Gates, Severity
from layers.model import Layer
from tests.unit.ingest.making import Folder, layer_of

CITY = [4.0, 45.0, 5.0, 46.0]
WITHIN = {"extent": {"within": CITY}}


def trees(**gates: object) -> Layer:
    return layer_of("genus", geometry="point", gates=gates)


def profile(**figures: Any) -> Profile:
    return Profile(**{"rows": 100, **figures})


def found(
    now: Profile, before: Profile | None = None, accept: tuple[str, ...] = (), **gates: object
) -> dict[str, Finding]:
    accepted = Acceptance(gates=accept, by="Ana", note="known") if accept else None
    return {each.gate: each for each in findings_of(trees(**gates), now, before, accepted)}


def sifted(layer: Layer, path: Path, before: Profile | None = None) -> tuple[Profile, list[str]]:
    """The figures of a file, and the reasons of the rows withheld."""
    sieve = Sieve(layer, before)
    batches = [sieve.sift(batch) for batch in read(layer, [path])]
    reasons = [refusal.reason for batch in batches for refusal in batch.refusals]
    assert sum(batch.read for batch in batches) == len(reasons) + sum(
        batch.rows.num_rows for batch in batches
    )
    return sieve.finish([], partial=False), reasons


def table(folder: Folder, *rows: str, header: str = "genus,lon,lat") -> Path:
    return folder.text("\n".join([header, *rows]) + "\n")


# The figures ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "now", "before", "held"),
    [
        ("shrink", {"rows": 80}, {}, True),
        ("shrink", {"rows": 79}, {}, False),
        ("growth", {"rows": 200}, {}, True),
        ("growth", {"rows": 201}, {}, False),
        ("withheld", {"rows": 90, "withheld": 10}, None, True),
        ("withheld", {"rows": 90, "withheld": 11}, None, False),
        ("nulls", {"nulls": {"genus": 25}}, {"nulls": {"genus": 5}}, True),
        ("nulls", {"nulls": {"genus": 26}}, {"nulls": {"genus": 5}}, False),
        ("columns", {"headers": ["a", "b"]}, {"headers": ["a", "b"]}, True),
        ("columns", {"headers": ["a", "c"]}, {"headers": ["a", "b"]}, False),
        ("dates", {"dates": 100, "odd_dates": 1}, None, True),
        ("dates", {"dates": 100, "odd_dates": 2}, None, False),
        ("mojibake", {"texts": 1000, "mojibake": 1}, None, True),
        ("mojibake", {"texts": 1000, "mojibake": 2}, None, False),
        ("personal", {"rows": 1000, "personal": {"genus: e-mail address": 1}}, None, True),
        ("personal", {"rows": 1000, "personal": {"genus: e-mail address": 2}}, None, False),
    ],
)
def test_a_gate_holds_up_to_its_limit(
    gate: str, now: dict[str, Any], before: dict[str, Any] | None, held: bool
) -> None:
    last = None if before is None else profile(**before)
    assert (gate not in found(profile(**now), last)) == held


def test_a_first_load_is_held_against_nothing_but_itself() -> None:
    assert found(profile(nulls={"genus": 100}, headers=["a"])) == {}


def test_a_partial_load_may_be_small_and_is_no_baseline() -> None:
    assert "shrink" not in found(profile(rows=3, partial=True), profile())


def test_a_finding_says_the_figures_and_the_limit() -> None:
    stop = found(profile(rows=50), profile())["shrink"]
    assert stop.says == "50 rows, where the last load had 100 (-50 %); the limit is 20 %"
    assert (stop.figure, stop.limit, stop.stops) == (0.5, 0.2, True)


def test_a_gate_can_be_changed_in_short() -> None:
    gates = Gates.model_validate({"shrink": 0.6, "growth": "refuse", "nulls": False})
    assert (gates.shrink.limit, gates.shrink.severity) == (0.6, Severity.REFUSE)
    assert (gates.growth.limit, gates.growth.severity) == (1, Severity.REFUSE)
    assert gates.nulls.severity is Severity.OFF
    assert "shrink" not in found(profile(rows=50), profile(), shrink=0.6)
    assert "shrink" not in found(profile(rows=1), profile(), shrink="off")
    assert not found(profile(rows=1), profile(), shrink="warn")["shrink"].stops


@pytest.mark.parametrize("licence", ["", "…", "unknown", " TBD "])
def test_a_layer_without_a_licence_is_not_published(licence: str) -> None:
    layer = trees().model_copy(update={"licence": licence})
    assert [each.gate for each in findings_of(layer, profile(), None)] == ["licence"]


def test_what_is_accepted_by_name_does_not_stop() -> None:
    now, before = profile(rows=30, nulls={"genus": 30}), profile(nulls={"genus": 0})
    findings = found(now, before, accept=("shrink",))
    assert findings["shrink"].accepted
    with pytest.raises(GatesHeld, match=r"--accept nulls --by NAME --note WHY") as held:
        raise GatesHeld("trees", list(findings.values()))
    assert "shrink:" not in str(held.value)


def test_keys_that_name_other_things_are_noticed() -> None:
    layer = layer_of("id", geometry="point", key="id")
    assert keys_finding(layer, 100, 50) is None
    assert keys_finding(layer, 19, 19) is None
    assert keys_finding(layer, 100, 51) is not None


def test_values_of_a_category_that_were_never_seen_are_noticed() -> None:
    layer = layer_of("genus", category="genus", style={"classes": [{"value": "Tilia"}]})
    now = profile(values={"Tilia": 80, "Acer": 10, "Tylia": 10})
    [new] = findings_of(layer, now, profile(values={"Acer": 5}))
    assert (new.gate, new.says) == (
        "vocabulary",
        "genus has values never seen in 10 rows: 'Tylia'; the limit is 5 %",
    )


# The sieve ----------------------------------------------------------------------------


def test_places_outside_the_declared_extent_are_withheld(folder: Folder) -> None:
    path = table(folder, "a,4.5,45.5", "b,45.5,4.5", "c,0,0", "d,10,50")
    seen, reasons = sifted(trees(**WITHIN), path)
    assert [reason.partition(": ")[2] for reason in reasons] == [
        "its axes are swapped",
        "outside the declared extent",
    ]
    assert (seen.rows, seen.placed, seen.outside, seen.swapped) == (2, 3, 2, 1)
    assert seen.extent == (4.5, 45.5, 4.5, 45.5)


def test_a_file_whose_axes_are_swapped_is_told_how_to_be_read(folder: Folder) -> None:
    path = table(folder, *(f"a,45.{n:02},4.5" for n in range(30)))
    seen, _ = sifted(trees(**WITHIN), path)
    stop = {each.gate: each for each in findings_of(trees(**WITHIN), seen, None)}["extent"]
    assert "declare source.swap_axes: true" in stop.says
    swapping = layer_of("genus", geometry="point", gates=WITHIN, source={"swap_axes": True})
    assert sifted(swapping, path)[1] == []


def test_a_layer_without_an_extent_is_held_against_its_last_one(folder: Folder) -> None:
    last = Profile(rows=100, extent=(4.4, 45.4, 4.6, 45.6))
    near = table(folder, *(f"a,4.{n:02},45.5" for n in range(32, 69)))
    assert findings_of(trees(), sifted(trees(), near, last)[0], last)[0].gate == "shrink"
    far = table(folder, *(f"a,5.{n:02},45.5" for n in range(30, 70)), *["a,4.5,45.5"] * 60)
    seen, reasons = sifted(trees(), far, last)
    [moved] = findings_of(trees(), seen, last)
    assert (moved.gate, moved.severity, reasons) == ("extent", Severity.WARN, [])
    swapped = table(folder, *["a,45.5,4.5"] * 100)
    [stop] = findings_of(trees(), sifted(trees(), swapped, last)[0], last)
    assert stop.stops


def test_what_ends_before_it_begins_is_withheld(folder: Folder) -> None:
    columns: list[dict[str, object]] = [
        {"name": "starts", "type": "datetime"},
        {"name": "ends", "type": "date"},
    ]
    layer = layer_of(*columns, time={"start": "starts", "end": "ends"})
    path = folder.text(
        "starts,ends\n2026-01-02T10:00:00Z,2026-01-02\n2026-01-02,2026-01-01\n2026-01-02,\n"
    )
    seen, reasons = sifted(layer, path)
    assert reasons == ["ends 2026-01-01 is before starts 2026-01-02"]
    assert seen.rows == 2


def test_a_withheld_row_keeps_its_content_and_its_line(folder: Folder) -> None:
    layer = layer_of("row", "genus", geometry="point", key="row", gates=WITHIN)
    path = table(folder, "k1,Tilia,4.5,45.5", "k2,Acer,10,50", header="row,genus,lon,lat")
    sieve = Sieve(layer, None)
    [batch] = [sieve.sift(batch) for batch in read(layer, [path])]
    [refusal] = batch.refusals
    assert (refusal.line, refusal.row, refusal.key) == (3, 2, "k2")
    assert refusal.content == {"row": "k2", "genus": "Acer", "geometry": "POINT (10 50)"}


def test_shapes_are_held_against_the_extent_by_their_middle(folder: Folder) -> None:
    layer = layer_of("genus", geometry="polygon", gates=WITHIN)
    inside = "POLYGON ((4.1 45.1, 4.2 45.1, 4.2 45.2, 4.1 45.1))"
    path = folder.text(f'genus,wkt\na,"{inside}"\nb,"POLYGON ((8 50, 9 50, 9 51, 8 50))"\nc,\n')
    seen, reasons = sifted(layer, path)
    assert (seen.rows, len(reasons), seen.placed) == (2, 1, 2)


def test_figures_survive_being_kept_as_json() -> None:
    kept = profile(extent=(1, 2, 3, 4), values={"a": 1}, personal={"a: e-mail address": 2})
    assert Profile.of(kept.as_json()) == kept
    assert Profile.of({"rows": 3, "of_a_later_version": 1}) == Profile(rows=3)


# The lint ----------------------------------------------------------------------------

PERSONAL_TEXTS = {
    "e-mail address": ["ask ana.b+c@example.org now", "x@y.eu"],
    "telephone number": ["04 79 12 34 56", "+33 4 79 12 34 56", "(604) 555-0123",
                         "+5255 1234 5678"],
    "bank account": ["FR76 3000 6000 0112 3456 7890 189", "DE89370400440532013000"],
    "number plate": ["AB-123-CD", "M-AB 1234"],
    "name of a person": ["Mme Dupont", "M. Jean Valjean", "Herr Müller", "contact: Sra. Núñez"],
}  # fmt: skip
HARMLESS = [
    "Tilia × europaea", "12.5", "2026-10-05T14:30:00Z", "45.204512", "FR-75-001", "20261005",
    "https://example.org/a", "Rue de M. le Maire", "RATP", "CP000225", "14:30:00:00", "75004",
    "Boulevard Saint-Michel", "ABC-12", "1234567", "Ma mère", "Herrengasse 3", "0.123456789012",
    "019200000000", "A1", "São Paulo", "ÂGE", "Ã la carte",
]  # fmt: skip


@pytest.mark.parametrize("kind", PERSONAL)
def test_personal_data_is_known_by_how_it_is_written(kind: str) -> None:
    for text in PERSONAL_TEXTS[kind]:
        assert dict(Texts(pa.array([text])).personal()) == {kind: 1}, text


@pytest.mark.parametrize("text", HARMLESS)
def test_what_cities_write_otherwise_is_not_taken_for_personal(text: str) -> None:
    texts = Texts(pa.array([text]))
    assert (dict(texts.personal()), texts.mojibake()) == ({}, 0)


@given(st.text(st.characters(min_codepoint=0xC0, max_codepoint=0x17F), min_size=1, max_size=4))
def test_text_that_was_decoded_wrongly_is_noticed(text: str) -> None:
    """UTF-8 of letters with accents, read as Latin-1 or Windows-1252."""
    wrong = text.encode().decode("latin-1")
    known = any(mark in wrong for mark in ("Ã", "Â"))
    assert Texts(pa.array([f"a{wrong}b"])).mojibake() == (1 if known else 0)


def test_cells_are_counted_and_not_texts() -> None:
    texts = Texts(pa.array(["a@b.eu", None, "a@b.eu", "CafÃ©", "CafÃ©"]))
    assert (dict(texts.personal()), texts.mojibake()) == ({"e-mail address": 2}, 2)
    assert dict(texts.counted()) == {"a@b.eu": 2, "CafÃ©": 2}
