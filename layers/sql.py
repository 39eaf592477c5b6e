"""The only place where names are quoted into SQL; values are always bound."""

from __future__ import annotations


def ident(name: str) -> str:
    """Quote a name so that it stays a name. A NUL cannot be part of one."""
    if "\0" in name or not name:
        raise ValueError(f"{name!r} cannot be a name in SQL")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text for DDL, where nothing can be bound (trigger arguments, column defaults)."""
    if "\0" in text:
        raise ValueError(f"{text!r} cannot be a text in SQL")
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted
