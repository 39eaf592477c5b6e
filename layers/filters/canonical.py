"""The same question written in the same way, whoever asks it and however.

What is made here means what it was made of, in the three-valued logic of SQL: negation goes down
to the leaves, chains are flat, ordered and without repetitions, alternatives of one value are one
list, and bounds of what comes in steps (whole numbers, days, microseconds) are inclusive.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from functools import singledispatch
from typing import Any

from layers.filters.nodes import (
    And,
    Arithmetic,
    Compare,
    Constant,
    Endless,
    Expression,
    Function,
    In,
    IsNull,
    Items,
    Kind,
    Like,
    Listed,
    Literal,
    Not,
    Or,
    Property,
    Scalar,
    Shape,
    Spatial,
    Truth,
)

INVERSE = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
TURNED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
STEPS: dict[Kind, Any] = {
    Kind.INTEGER: 1, Kind.DATE: timedelta(days=1), Kind.INSTANT: timedelta(microseconds=1),
}  # fmt: skip


def conjunction(parts: Iterable[Expression]) -> Expression:
    return _chain(And, parts, neutral=True)


def disjunction(parts: Iterable[Expression]) -> Expression:
    return _chain(Or, _gathered(_flat(Or, parts)), neutral=False)


def _flat(kind: type[And | Or], parts: Iterable[Expression]) -> list[Expression]:
    found: list[Expression] = []
    for part in parts:
        found += part.parts if isinstance(part, kind) else (part,)
    return found


def _chain(kind: type[And | Or], parts: Iterable[Expression], *, neutral: bool) -> Expression:
    flat = _flat(kind, parts)
    if Constant(not neutral) in flat:
        return Constant(not neutral)
    named = {say(part): part for part in flat if part != Constant(neutral)}
    if not named:
        return Constant(neutral)
    ordered = tuple(named[name] for name in sorted(named))
    return ordered[0] if len(ordered) == 1 else kind(ordered)


def _gathered(parts: list[Expression]) -> list[Expression]:
    """Alternatives with those on the same value as one list."""
    values: dict[tuple[Scalar, Kind], list[Literal]] = {}
    others: list[Expression] = []
    for part in parts:
        if isinstance(part, In):
            values.setdefault((part.value, part.items[0].kind), []).extend(part.items)
        elif isinstance(part, Compare) and part.op == "=" and isinstance(part.right, Literal):
            values.setdefault((part.left, part.right.kind), []).append(part.right)
        else:
            others.append(part)
    return [one_of(value, items) for (value, _), items in values.items()] + others


def negation(part: Expression) -> Expression:
    match part:
        case Constant(value):
            return Constant(not value)
        case Not(inner):
            return inner
        case And(parts):
            return disjunction(negation(each) for each in parts)
        case Or(parts):
            return conjunction(negation(each) for each in parts)
        case Compare(op, left, right):
            return compare(INVERSE[op], left, right)
    return Not(part)


def one_of(value: Scalar, items: Iterable[Literal]) -> Expression:
    """Whether a value is one of some literals of its kind."""
    named = {say(item): item for item in items}
    ordered = tuple(named[name] for name in sorted(named))
    if len(ordered) == 1:
        return compare("=", value, ordered[0])
    return In(value, ordered)


def compare(op: str, left: Scalar, right: Scalar) -> Expression:
    """A comparison of values of one kind, the literal on the right."""
    if isinstance(left, Literal) and not isinstance(right, Literal):
        op, left, right = TURNED[op], right, left
    if (known := _known(op, left, right)) is not None:
        return known
    if isinstance(left, Property) and isinstance(right, Literal):
        return _against_literal(op, left, right)
    if op in ("=", "<>") and not isinstance(right, Literal) and say(right) < say(left):
        left, right = right, left
    return Compare(op, left, right)


def _known(op: str, left: Scalar, right: Scalar) -> Constant | None:
    """What the answer is for every row, where it is one."""
    if isinstance(left, Endless) and isinstance(right, Endless):
        return Constant(TESTS[op](left.sign, right.sign))
    if not isinstance(left, Literal) or not isinstance(right, Literal):
        return None
    if left.kind is Kind.TEXT and op not in ("=", "<>"):
        return None  # which comes first is for the database's collation to say
    return Constant(TESTS[op](left.value, right.value))


def _against_literal(op: str, left: Property, right: Literal) -> Expression:
    if op == "<>" and isinstance(right.value, bool):
        return Compare("=", left, Literal(not right.value, Kind.BOOLEAN))
    if left.kind in STEPS and op in ("<", ">"):
        return _inclusive(op, left, right)
    return Compare(op, left, right)


def _inclusive(op: str, left: Property, right: Literal) -> Expression:
    if right.kind is not left.kind:
        return Compare(op, left, right)
    step = STEPS[left.kind]
    value: Any = right.value
    try:
        nearest = value - step if op == "<" else value + step
    except OverflowError:
        return Compare(op, left, right)
    if isinstance(nearest, int) and not -(2**63) <= nearest < 2**63:
        return Compare(op, left, right)
    return Compare(f"{op}=", left, Literal(nearest, left.kind))


@singledispatch
def say(node: object) -> str:
    """The node in one line, equal for equal nodes and for no others."""
    raise TypeError(f"{type(node).__name__} is no part of a filter")


@say.register
def _(node: Property) -> str:
    return f"{node.name}"


@say.register
def _(node: Literal) -> str:
    value = node.value
    shown = value.isoformat() if isinstance(value, date | datetime) else repr(value)
    return f"{node.kind}:{shown}"


@say.register
def _(node: Endless) -> str:
    return f"{node.kind}:{'+' if node.sign > 0 else '-'}.."


@say.register
def _(node: Arithmetic) -> str:
    return f"({say(node.left)}{node.op}{say(node.right)})"


@say.register
def _(node: Function) -> str:
    return f"{node.name}({','.join(map(say, node.args))})"


@say.register
def _(node: Shape) -> str:
    return f"shape:{hashlib.blake2b(node.wkb, digest_size=12).hexdigest()}"


@say.register
def _(node: Items) -> str:
    return f"[{','.join(map(say, node.items))}]"


@say.register
def _(node: Truth) -> str:
    return f"is({say(node.operand)})"


@say.register
def _(node: Constant) -> str:
    return str(node.value).lower()


@say.register
def _(node: And) -> str:
    return f"and({','.join(map(say, node.parts))})"


@say.register
def _(node: Or) -> str:
    return f"or({','.join(map(say, node.parts))})"


@say.register
def _(node: Not) -> str:
    return f"not({say(node.part)})"


@say.register
def _(node: Compare) -> str:
    return f"({say(node.left)} {node.op} {say(node.right)})"


@say.register
def _(node: Like) -> str:
    return f"({say(node.value)} like {say(node.pattern)})"


@say.register
def _(node: In) -> str:
    return f"({say(node.value)} in {','.join(map(say, node.items))})"


@say.register
def _(node: IsNull) -> str:
    return f"({say(node.operand)} is null)"


@say.register
def _(node: Spatial) -> str:
    return f"{node.op}({say(node.left)},{say(node.right)})"


@say.register
def _(node: Listed) -> str:
    return f"{node.op}({say(node.left)},{say(node.right)})"
