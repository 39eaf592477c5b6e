"""How the statements of a trigger are joined, as plpgsql.

A session plans a statement of a function once, perhaps for one row or while a table is still
empty: as a nested loop over a statement's old and new rows it would take a minute for the next
5 000, and as a scan of an overview that has grown since, 30 ms for each single row.
"""

from __future__ import annotations

_SWITCHES = ("enable_nestloop", "enable_hashjoin", "enable_mergejoin", "enable_seqscan")
# Clauses of CREATE FUNCTION: what its body sets ends with the call.
ANY_PLAN_AT_FIRST = " ".join(f"SET {switch} = on" for switch in _SWITCHES)


def _with(*off: str) -> str:
    """plpgsql that lets all that follows be planned without `off`."""
    values = ("off" if switch in off else "on" for switch in _SWITCHES)
    calls = (f"set_config('{s}', '{v}', true)" for s, v in zip(_SWITCHES, values, strict=True))
    return f"\n    PERFORM {', '.join(calls)};"


ANY_PLAN = _with()
ROWS_TO_ROWS = _with("enable_nestloop")  # all at once, in memory
ROWS_TO_INDEX = _with("enable_hashjoin", "enable_mergejoin", "enable_seqscan")  # one by one
