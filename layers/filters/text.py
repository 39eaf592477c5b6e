"""CQL2 text, read into the tree that CQL2 JSON is (OGC 21-065r2, annex B).

A parser of one's own, because the one that reads all of the standard's examples (cql2 0.6) takes
time that doubles with each open parenthesis of a wrong expression, and ends the process where
they are nested deep. This one reads each letter once, to a bounded depth, and says where it
stopped. Shapes come as shapely geometries, everything else as CQL2 JSON has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import shapely

from layers.filters.errors import FilterRefused
from layers.filters.words import ARRAY_OPERATORS, OPERATORS

Tree = Any  # what JSON can say, and shapely geometries
MAX_DEPTH = 40
LEXEMES = re.compile(
    r"""\s*(?:
    (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.:]))
  | (?P<text>'(?:[^'\\]|''|\\'|\\)*')
  | "(?P<quoted>(?:[^"]|"")+)"
  | (?P<name>[^\W\d][\w.:]*|:[\w.:]*)
  | (?P<sign><>|<=|>=|!=|[=<>+\-*/%^(),])
  | (?P<end>\Z)
    )""",
    re.X,
)
SHAPES = {
    "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection",
}  # fmt: skip
KEYWORDS = {
    "and", "or", "not", "like", "ilike", "between", "in", "is", "null", "div", "true", "false",
}  # fmt: skip
COMPARISONS = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
OR, AND, COMPARED, SUM, PRODUCT, POWER, SIGNED = range(7)  # what binds less tightly comes first
INFIX = {
    "or": OR, "and": AND,
    **dict.fromkeys([*COMPARISONS, "like", "ilike", "between", "in", "is", "not"],
    COMPARED), "+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "%": PRODUCT, "div": PRODUCT,
    "^": POWER,
}  # fmt: skip


class Token(NamedTuple):
    """A piece of the text. `word` is what it means to the grammar: a keyword, a sign or empty."""

    kind: str
    said: str
    word: str
    at: int


def parse_text(text: str) -> Tree:
    """The tree of an expression; raises FilterRefused, which says where and what was expected."""
    reader = _Reader(text)
    tree = reader.expression(OR, 0)
    reader.expect_end()
    return tree


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._next = self._read()

    def _read(self) -> Token:
        found = LEXEMES.match(self._text, self._at)
        if found is None or found.lastgroup is None:
            at = self._at + len(self._text[self._at :]) - len(self._text[self._at :].lstrip())
            raise FilterRefused(f"cannot read {self._text[at : at + 12]!r} at character {at + 1}")
        kind = found.lastgroup
        said = found[kind]
        word = said.lower() if kind in ("name", "sign") else ""
        self._at = found.end()
        return Token(kind, said, word, found.start(kind))

    def _take(self) -> Token:
        token, self._next = self._next, self._read()
        return token

    def _takes(self, word: str) -> bool:
        """Take the next piece if it is this word."""
        if self._next.word != word:
            return False
        self._take()
        return True

    def _expect(self, word: str) -> None:
        if not self._takes(word):
            raise self._odd(f"{word.upper()!r}")

    def expect_end(self) -> None:
        if self._next.kind != "end":
            raise self._odd("AND, OR or the end")

    def _odd(self, expected: str) -> FilterRefused:
        token = self._next
        found = "the end" if token.kind == "end" else repr(token.said[:20])
        return FilterRefused(f"expected {expected} at character {token.at + 1}, found {found}")

    def expression(self, least: int, depth: int) -> Tree:
        """What binds at least as tightly as `least`."""
        if depth > MAX_DEPTH:
            raise FilterRefused(f"is nested more than {MAX_DEPTH} deep; write it flatter")
        left = self._prefix(depth)
        while (binds := INFIX.get(self._next.word, -1)) >= least:
            left = self._infix(left, binds, depth)
        return left

    def _infix(self, left: Tree, binds: int, depth: int) -> Tree:
        token = self._take()
        if token.word in ("and", "or"):
            return _joined(token.word, left, self.expression(binds + 1, depth + 1))
        if token.word in COMPARISONS:
            right = self.expression(SUM, depth + 1)
            return _op(COMPARISONS[token.word], left, right)
        if binds == COMPARED:
            return self._worded(token.word, left, depth)
        return _op(token.word, left, self.expression(binds + 1, depth + 1))

    def _worded(self, word: str, left: Tree, depth: int) -> Tree:
        """LIKE, BETWEEN, IN, IS NULL, with NOT before or after."""
        if word == "is":
            negated = self._takes("not")
            self._expect("null")
            found = _op("isNull", left)
        else:
            negated = word == "not"
            if negated:
                word = self._next.word
                if word not in ("like", "ilike", "between", "in"):
                    raise self._odd("LIKE, BETWEEN or IN")
                self._take()
            found = self._ranged(word, left, depth)
        return _op("not", found) if negated else found

    def _ranged(self, word: str, left: Tree, depth: int) -> Tree:
        if word == "like":
            return _op("like", left, self.expression(SUM, depth + 1))
        if word == "ilike":  # which is GDAL's
            return _op("like", _op("casei", left), _op("casei", self.expression(SUM, depth + 1)))
        if word == "between":
            low = self.expression(SUM, depth + 1)
            self._expect("and")
            return _op("between", left, low, self.expression(SUM, depth + 1))
        self._expect("(")
        items = self._listed(depth)
        if not items:
            raise FilterRefused("IN () has no values; write at least one")
        return _op("in", left, items)

    def _listed(self, depth: int) -> list[Tree]:
        """Expressions up to the closing parenthesis; the opening one is taken."""
        items: list[Tree] = []
        if self._takes(")"):
            return items
        while True:
            items.append(self.expression(OR, depth + 1))
            if self._takes(")"):
                return items
            self._expect(",")

    def _prefix(self, depth: int) -> Tree:
        token = self._next
        if token.word == "not":
            self._take()
            return _op("not", self.expression(COMPARED, depth + 1))
        if token.word in ("-", "+"):
            self._take()
            operand = self.expression(SIGNED, depth + 1)
            return operand if token.word == "+" else _negative(operand)
        if token.word == "(":
            self._take()
            return self._group(depth)
        return self._operand(depth)

    def _group(self, depth: int) -> Tree:
        """An expression in parentheses, or a list of several or of none."""
        items = self._listed(depth)
        return items[0] if len(items) == 1 else items

    def _operand(self, depth: int) -> Tree:
        token = self._next
        if token.kind == "number":
            self._take()
            return _number(token.said)
        if token.kind == "text":
            self._take()
            return _unquoted(token.said)
        if token.kind == "quoted":
            self._take()
            return {"property": token.said.replace('""', '"')}
        if token.kind != "name" or token.word in KEYWORDS - {"true", "false", "null"}:
            raise self._odd("a value, a property or a function")
        return self._named(depth)

    def _named(self, depth: int) -> Tree:
        token = self._take()
        if token.word in ("true", "false"):
            return token.word == "true"
        if token.word == "null":
            raise FilterRefused("NULL is no value to compare with; write IS NULL or IS NOT NULL")
        if token.word in SHAPES and self._starts_shape():
            return self._shape(token)
        if self._next.word != "(":
            return {"property": token.said}
        self._take()
        return self._call(token, depth)

    def _call(self, token: Token, depth: int) -> Tree:
        special: Callable[[list[Tree]], Tree] | None = SPECIAL.get(token.word)
        if special is not None:
            return special(self._listed(depth))
        name = OPERATORS.get(token.word, token.said)
        listed = self._arrays(depth) if name in ARRAY_OPERATORS else self._listed(depth)
        return {"op": name, "args": listed}

    def _arrays(self, depth: int) -> list[Tree]:
        """The operands of an operator on arrays: there even one value in parentheses is a list."""
        items = []
        while True:
            in_parentheses = self._next.word == "("
            item = self.expression(OR, depth + 1)
            listed = in_parentheses and not isinstance(item, list)
            items.append([item] if listed else item)
            if self._takes(")"):
                return items
            self._expect(",")

    def _starts_shape(self) -> bool:
        return self._next.word in ("(", "z", "m", "zm", "empty")

    def _shape(self, token: Token) -> Tree:
        """Well-known text up to where its parentheses are closed, which GEOS reads."""
        open_ = 0
        while True:
            piece = self._next
            if piece.kind == "end":
                raise self._odd("')'")
            open_ += {"(": 1, ")": -1}.get(piece.word, 0)
            if open_ > MAX_DEPTH:
                raise FilterRefused(f"{token.said}: nested more than {MAX_DEPTH} deep")
            end = piece.at + len(piece.said)
            self._take()
            if open_ == 0 and piece.word in (")", "empty"):
                break
        try:
            return shapely.from_wkt(self._text[token.at : end])
        except shapely.errors.GEOSException as exc:
            said = str(exc).partition(": ")[2] or str(exc)
            raise FilterRefused(f"{token.said} at character {token.at + 1}: {said}") from None


def _op(name: str, *args: Tree) -> Tree:
    return {"op": name, "args": list(args)}


def _joined(word: str, left: Tree, right: Tree) -> Tree:
    """A chain of the same word is one operator of many operands, as the standard has it."""
    if isinstance(left, dict) and left.get("op") == word:
        left["args"].append(right)
        return left
    return _op(word, left, right)


def _negative(operand: Tree) -> Tree:
    if isinstance(operand, int | float) and not isinstance(operand, bool):
        return -operand
    return _op("*", -1, operand)


def _number(said: str) -> int | float:
    return int(said) if said.isdigit() and len(said) < 19 else float(said)


def _unquoted(said: str) -> str:
    return said[1:-1].replace("\\'", "'").replace("''", "'")


def _bbox(items: list[Tree]) -> Tree:
    return {"bbox": items}


def _date(items: list[Tree]) -> Tree:
    return {"date": _only("DATE", items)}


def _timestamp(items: list[Tree]) -> Tree:
    return {"timestamp": _only("TIMESTAMP", items)}


def _interval(items: list[Tree]) -> Tree:
    return {"interval": items}


def _only(name: str, items: list[Tree]) -> Tree:
    if len(items) != 1 or not isinstance(items[0], str):
        raise FilterRefused(f"{name} takes one text, such as {name}('2026-03-01')")
    return items[0]


SPECIAL = {"bbox": _bbox, "date": _date, "timestamp": _timestamp, "interval": _interval}
