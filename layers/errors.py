"""What can go wrong in `layers`, one class a failure.

LayersError
├── CatalogueError      a catalogue file is wrong; carries file, line and fix
├── LayerNotFound       no layer is published under this id
├── MapNotFound         no map is declared under this id
├── FeatureNotFound     the layer has no feature with this id
├── QueryRefused        a parameter is wrong; carries its name, value and fix
├── QueryTooCostly      a question would read more than it may; carries advice
├── ChangeRefused       a change to a layer would lose or break something
├── RunNotFound         no run has this number
├── KeyRefused          no key was shown, or none that is valid
├── ScopeMissing        the key is valid, and not for this
├── StoreUnavailable    PostGIS cannot be reached
│   └── StoreBusy       PostGIS is there, but every connection is taken
└── ClusterError        the embedded PostGIS cannot be made or started
"""

from __future__ import annotations

from pathlib import Path


class LayersError(Exception):
    """Anything `layers` says on purpose. Its text may be shown to anyone."""


class CatalogueError(LayersError):
    """One or more catalogue files are wrong. Each problem names file, line and fix."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LayerNotFound(LayersError):
    """No layer is published under this id."""

    def __init__(self, layer_id: str, hint: str = "") -> None:
        super().__init__(f"no layer {layer_id!r}{hint and '; '}{hint}")
        self.layer_id = layer_id


class MapNotFound(LayersError):
    """No map or style is declared under this id."""

    def __init__(self, map_id: str) -> None:
        super().__init__(f"no map or layer {map_id!r}")
        self.map_id = map_id


class FeatureNotFound(LayersError):
    """The layer has no feature with this id."""

    def __init__(self, layer_id: str, fid: object) -> None:
        super().__init__(f"layer {layer_id!r} has no feature {fid!r}")


class QueryRefused(LayersError):
    """A parameter of a question is wrong."""

    def __init__(self, parameter: str, value: object, fix: str) -> None:
        super().__init__(f"{parameter}={value}: {fix}")
        self.parameter = parameter
        self.value = value
        self.fix = fix


class QueryTooCostly(LayersError):
    """A question would read more of the database than one may. Costs are the planner's."""

    def __init__(self, cost: float, most: float, advice: str) -> None:
        super().__init__(
            f"this would cost {cost:,.0f} of at most {most:,.0f} that a question may: {advice}"
        )
        self.cost = cost
        self.most = most
        self.advice = advice


class ChangeRefused(LayersError):
    """A change to a layer would lose or break something."""


class RunNotFound(LayersError):
    """No run has this number, or none that may be seen."""


class KeyRefused(LayersError):
    """No key was shown, or none that is valid."""

    @property
    def is_unknown(self) -> bool:
        """Whether nobody was ever given this key: it may be a guess."""
        return "opens nothing" in str(self)


class ScopeMissing(LayersError):
    """The key is valid, and does not allow this."""


class StoreUnavailable(LayersError):
    """PostGIS cannot be reached."""


class StoreBusy(StoreUnavailable):
    """Every connection is taken and the queue is full."""


class ClusterError(LayersError):
    """The embedded PostGIS cannot be made, started or stopped."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(f"{message} (see {log})" if log else message)
