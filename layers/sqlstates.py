"""What the functions of `quartier` say by a code of ours, as the errors that they mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError

from layers.errors import ChangeRefused, KeyRefused, LayersError, RunNotFound, ScopeMissing

MEANT: dict[str, type[LayersError]] = {
    "QK401": KeyRefused,
    "QK403": ScopeMissing,
    "QK404": RunNotFound,
    "QK409": ChangeRefused,
}


@contextmanager
def meant_errors() -> Iterator[None]:
    """Raise what a function meant; everything else goes on as it came. For both drivers."""
    try:
        yield
    except asyncpg.PostgresError as exc:
        if (kind := MEANT.get(str(exc.sqlstate))) is None:
            raise
        raise kind(str(exc.args[0])) from exc
    except DBAPIError as exc:
        diagnostic = getattr(exc.orig, "diag", None)
        if (kind := MEANT.get(str(getattr(diagnostic, "sqlstate", "")))) is None:
            raise
        raise kind(str(diagnostic.message_primary)) from exc  # type: ignore[union-attr]
