"""The operators of CQL2 (OGC 21-065r2), by their names in CQL2 JSON."""

from __future__ import annotations

SPATIAL_OPERATORS = (
    "s_intersects", "s_equals", "s_disjoint", "s_touches", "s_within", "s_overlaps", "s_crosses",
    "s_contains",
)  # fmt: skip
TEMPORAL_OPERATORS = (
    "t_after", "t_before", "t_contains", "t_disjoint", "t_during", "t_equals", "t_finishedBy",
    "t_finishes", "t_intersects", "t_meets", "t_metBy", "t_overlappedBy", "t_overlaps",
    "t_startedBy", "t_starts",
)  # fmt: skip
INSTANTS_ALLOWED = ("t_after", "t_before", "t_disjoint", "t_equals", "t_intersects")
ARRAY_OPERATORS = ("a_contains", "a_containedBy", "a_equals", "a_overlaps")
FOLDS = ("casei", "accenti")
COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
ARITHMETIC = ("+", "-", "*", "/", "%", "div", "^")
PREDICATES = ("and", "or", "not", "like", "between", "in", "isNull")
OPERATORS = {  # names are written in any case
    name.lower(): name
    for name in (
        *SPATIAL_OPERATORS, *TEMPORAL_OPERATORS, *ARRAY_OPERATORS, *FOLDS, *COMPARISONS,
        *ARITHMETIC, *PREDICATES,
    )
}  # fmt: skip
