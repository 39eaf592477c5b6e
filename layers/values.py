"""Values that a statement is given: each is bound, and stands in the text as $1, $2 …"""

from __future__ import annotations


class Values:
    """The values of a statement in the order of their numbers, those of `first` to begin with."""

    def __init__(self, *first: object) -> None:
        self.args: list[object] = list(first)

    def bind(self, value: object, kind: str) -> str:
        """What stands for the value in the statement. `kind` is a type of PostgreSQL."""
        self.args.append(value)
        return f"${len(self.args)}::{kind}"
