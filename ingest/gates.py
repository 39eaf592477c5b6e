"""Whether a load may be published: each gate's figure beside its limit. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ingest.errors import IngestError
from ingest.profile import Profile
from layers.gates import NO_LICENCE, Gate, Severity
from layers.model import Layer

FEW_ROWS = 20  # below it, shares say nothing
UNSURE = frozenset({"name of a person", "number plate"})  # or of a street, a stop: stops nothing
SWAPPED = 0.95  # of the places: then it is the file that has its axes the other way round


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A gate that was not held. `accepted` says that somebody let it pass, by name."""

    gate: str
    severity: Severity
    figure: float | None
    limit: float | None
    says: str
    accepted: bool = False

    @property
    def stops(self) -> bool:
        return self.severity is Severity.REFUSE and not self.accepted

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Gates that may be passed this time, by whom and why."""

    gates: tuple[str, ...]
    by: str
    note: str
    run: int | None = None  # the refused run that it was said of

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


class GatesHeld(IngestError):
    """A load was stopped. The text names each gate, its figure and limit, and how to accept it."""

    def __init__(self, layer_id: str, findings: Sequence[Finding]) -> None:
        stopped = [finding for finding in findings if finding.stops]
        said = "\n".join(f"  {finding.gate}: {finding.says}" for finding in stopped)
        gates = ",".join(finding.gate for finding in stopped)
        super().__init__(
            f"layer {layer_id}: the load was stopped, and the layer is as it was:\n{said}\n"
            f"Correct the source; or accept it this time: --accept {gates} --by NAME --note WHY;"
            f" or change gates in the layer's declaration"
        )
        self.findings = tuple(findings)


def findings_of(
    layer: Layer, now: Profile, before: Profile | None, accepted: Acceptance | None = None
) -> list[Finding]:
    """The gates that the load does not hold. `before` is the last load of the whole layer."""
    gates = accepted.gates if accepted else ()
    found = []
    for figure in _figures(layer, now, before):
        gate = getattr(layer.gates, figure.gate)
        if gate.severity is Severity.OFF or _holds(figure, gate):
            continue
        limit = None if figure.share is None else gate.limit
        told = f"{figure.says}; the limit is {_share(limit)}" if limit else figure.says
        finding = Finding(
            gate=figure.gate, severity=Severity.WARN if figure.mild else gate.severity,
            figure=figure.share, limit=limit, says=told, accepted=figure.gate in gates,
        )  # fmt: skip
        found.append(finding)
    return found


def _holds(figure: Figure, gate: Gate) -> bool:
    return figure.share is not None and figure.share <= gate.limit


def keys_finding(
    layer: Layer, known: int, moved: int, accepted: Acceptance | None = None
) -> Finding | None:
    """Whether rows that are known by their key lie elsewhere now: keys that name other things."""
    gate = layer.gates.keys
    if known < FEW_ROWS or moved <= gate.limit * known or gate.severity is Severity.OFF:
        return None
    says = (
        f"{moved:,} of {known:,} rows known by {'+'.join(layer.key)} ({_share(moved / known)})"
        f" moved by more than 50 m, as if it named other things each time; the limit is"
        f" {_share(gate.limit)}. Declare a key that stays, or none"
    )
    return Finding(
        gate="keys", severity=gate.severity, figure=moved / known, limit=gate.limit, says=says,
        accepted=accepted is not None and "keys" in accepted.gates,
    )  # fmt: skip


def _share(value: float) -> str:
    return f"{value * 100:.3g} %"


@dataclass(frozen=True, slots=True)
class Figure:
    """What a gate looks at, None where it has no number. A `mild` one warns at most."""

    gate: str
    share: float | None
    says: str
    mild: bool = False


def _figures(layer: Layer, now: Profile, before: Profile | None) -> Iterator[Figure]:
    yield from _licence(layer)
    yield from _withheld(now)
    yield from _places(layer, now)
    yield from _texts(now)
    yield from _dates(now)
    yield from _clocks(now)
    if before is not None:
        yield from _size(now, before)
        yield from _nulls(now, before)
        yield from _columns(now, before)
        yield from _vocabulary(layer, now, before)


def _licence(layer: Layer) -> Iterator[Figure]:
    if layer.licence.strip().casefold() in NO_LICENCE:
        yield Figure("licence", None, f"licence is {layer.licence!r}; name one, such as CC-BY-4.0")


def _withheld(now: Profile) -> Iterator[Figure]:
    read = now.rows + now.withheld
    if read >= FEW_ROWS:
        says = f"{now.withheld:,} of {read:,} rows were withheld ({_share(now.withheld / read)})"
        yield Figure("withheld", now.withheld / read, says)


def _places(layer: Layer, now: Profile) -> Iterator[Figure]:
    if now.box is None or not now.placed:
        return
    share, declared = now.outside / now.placed, layer.gates.extent.within is not None
    if not declared and now.placed < FEW_ROWS:
        return
    where = "the declared extent" if declared else "the last load's extent"
    says = f"{now.outside:,} of {now.placed:,} places ({_share(share)}) lie outside {where}"
    if now.swapped >= SWAPPED * now.placed:
        says = (
            f"{now.swapped:,} of {now.placed:,} places are in the city only if latitude and"
            " longitude are exchanged; declare source.swap_axes: true"
        )
    elif now.swapped:
        says += f", {now.swapped:,} of them with their axes swapped"
    yield Figure("extent", share, says, mild=not declared and not now.swapped)


def _texts(now: Profile) -> Iterator[Figure]:
    if now.texts:
        share = now.mojibake / now.texts
        says = (
            f"{now.mojibake:,} of {now.texts:,} texts were decoded wrongly somewhere (such as Ã©);"
            " declare source.encoding, or have the source mended"
        )
        yield Figure("mojibake", share, says)
    for unsure in (False, True):
        found = {
            name: count
            for name, count in now.personal.items()
            if (name.rpartition(": ")[2] in UNSURE) == unsure
        }
        if found and now.rows:
            listed = ", ".join(f"{name} in {count:,} rows" for name, count in found.items())
            says = (
                f"looks like personal data: {listed}; leave the column out, or name it in"
                " gates.personal.allowed"
            )
            yield Figure("personal", max(found.values()) / now.rows, says, mild=unsure)


def _dates(now: Profile) -> Iterator[Figure]:
    if now.dates:
        share = now.odd_dates / now.dates
        yield Figure(
            "dates", share, f"{now.odd_dates:,} of {now.dates:,} dates are no year of a city's"
        )


def _clocks(now: Profile) -> Iterator[Figure]:
    for name, (count, late, early) in now.clocks.items():
        if count >= FEW_ROWS and count in (late, early):
            hours = "22:00 or 23:00" if late == count else "01:00 or 02:00"
            says = (
                f"all {count:,} instants of {name} are at {hours} UTC: these look like local dates;"
                " declare the column as date, or the time zone"
            )
            yield Figure("dates", 1, says, mild=True)


def _size(now: Profile, before: Profile) -> Iterator[Figure]:
    if now.partial or before.rows < FEW_ROWS:
        return
    change = (now.rows - before.rows) / before.rows
    says = f"{now.rows:,} rows, where the last load had {before.rows:,} ({change * 100:+.3g} %)"
    yield Figure("shrink", max(0.0, -change), says)
    yield Figure("growth", max(0.0, change), says)


def _nulls(now: Profile, before: Profile) -> Iterator[Figure]:
    if min(now.rows, before.rows) < FEW_ROWS:
        return
    rises = {
        name: count / now.rows - before.nulls[name] / before.rows
        for name, count in now.nulls.items()
        if name in before.nulls
    }
    if rises:
        worst = max(rises, key=lambda name: rises[name])
        was, is_ = before.nulls[worst] / before.rows, now.nulls[worst] / now.rows
        says = f"{worst} is empty in {_share(is_)} of the rows, and was in {_share(was)}"
        yield Figure("nulls", max(0.0, rises[worst]), says)


def _columns(now: Profile, before: Profile) -> Iterator[Figure]:
    if not before.headers:
        return
    gone = [name for name in before.headers if name not in now.headers]
    new = [name for name in now.headers if name not in before.headers]
    both = ((gone, "went"), (new, "came"))
    said = [f"{', '.join(names)} {verb}" for names, verb in both if names]
    yield Figure(
        "columns", float(len(gone) + len(new)), f"columns of the source: {'; '.join(said)}"
    )


def _vocabulary(layer: Layer, now: Profile, before: Profile) -> Iterator[Figure]:
    declared = [*layer.groups, *(drawn.value for drawn in layer.style.classes)]
    known = {str(v).lower() if isinstance(v, bool) else str(v) for v in declared}
    known |= set(before.values)
    if layer.category is None or not now.rows:
        return
    new = {value: count for value, count in now.values.items() if value not in known}
    shown = ", ".join(repr(value) for value in list(new)[:5]) + (" …" if len(new) > 5 else "")
    count = sum(new.values())
    says = f"{layer.category} has values never seen in {count:,} rows: {shown}"
    yield Figure("vocabulary", count / now.rows, says)
