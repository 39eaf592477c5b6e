"""The only place where names are quoted into SQL; values are always bound."""

from __future__ import annotations


def ident(name: str) -> str:
    """Quote a name so that it stays a name. A NUL cannot be part of one."""
    if "\0" in name or not name:
        raise ValueError(f"{name!r} cannot be a name in SQL")
    return '"' + name.replace('"', '""') + '"'


def body_tag(body: str) -> str:
    """A dollar quote that the body of a function does not hold."""
    number = 0
    while f"$body{number}$" in body:
        number += 1
    return f"$body{number}$"


def literal(text: str) -> str:
    """Quote a text for DDL, where nothing can be bound (trigger arguments, column defaults)."""
    if "\0" in text:
        raise ValueError(f"{text!r} cannot be a text in SQL")
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted
