"""Tables in several schemas of one database, made in one place: ``sales.orders`` and ``archive.orders``.

Made databases have no schemas. So the names of tables go without what qualifies them, and tables that would then have
one name keep it within theirs: the table ``"archive.orders"``. A query's other text stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sqlglot import exp

from text2sql.engines.declared.spelling import OWN
from text2sql.engines.dialect import Dialect
from text2sql.engines.trees import parse_query
from text2sql.sql.ddl import created_names
from text2sql.sql.dumps import statements_alone
from text2sql.sql.tokens import fold, quote_identifier, tokenize

_Change = tuple[int, int, str]


@dataclass(frozen=True)
class Qualifiers:
    """The qualified tables of a schema.

    Attributes:
        dialect: Of the schema and its queries.
        names: By qualifier and table in lower case, the name in made databases; None for the table's own.
    """

    dialect: Dialect
    names: Mapping[tuple[str, str], str | None]

    def in_schema(self, ddl: str) -> str:
        """Statements alone, with the names that made databases have."""
        ddl = statements_alone(ddl)
        if not self.names:
            return ddl
        tokens, changes = tokenize(ddl), list[_Change]()
        for first, dot, last in zip(tokens, tokens[1:], tokens[2:], strict=False):
            pair = fold(first.name), fold(last.name)
            if dot.text == "." and first.kind != "string" and pair in self.names:
                changes.append((first.start, last.end, self._named(pair, last.text)))
        return _changed(ddl, changes)

    def in_query(self, sql: str) -> str:
        """A query with the names that made databases have; as it stands where sqlglot does not follow it."""
        lowered = sql.lower()
        if not any(qualifier in lowered for qualifier, _ in self.names):
            return sql
        tree = parse_query(sql, self.dialect)
        return sql if tree is None else _changed(sql, list(self._changes(sql, tree)))

    def _changes(self, sql: str, tree: exp.Expr) -> Iterator[_Change]:
        for node in tree.find_all(exp.Table, exp.Column):
            qualifier, table = node.args.get("db"), node.args.get("this" if isinstance(node, exp.Table) else "table")
            if not isinstance(qualifier, exp.Identifier) or not isinstance(table, exp.Identifier):
                continue
            pair = fold(qualifier.name), fold(table.name)
            begin, end = qualifier.meta.get("start"), table.meta.get("end")
            if pair not in self.names or begin is None or end is None or node.args.get("catalog"):
                continue
            spelt = sql[table.meta["start"] : end + 1]
            if fold(spelt.strip('"`[]')) != pair[1]:
                # Another text than that which was parsed.
                continue
            if isinstance(node, exp.Column) or self.names[pair] is None:
                yield begin, end + 1, spelt
            else:
                # What the query calls it without another name.
                called = "" if node.args.get("alias") else f" AS {spelt}"
                yield begin, end + 1, self._named(pair, spelt) + called

    def _named(self, pair: tuple[str, str], spelt: str) -> str:
        name = self.names[pair]
        return spelt if name is None else quote_identifier(name, "`" if self.dialect == "mysql" else '"')


def _changed(text: str, changes: list[_Change]) -> str:
    parts, at = list[str](), 0
    for begin, end, new in sorted(changes):
        parts += [text[at:begin], new]
        at = end
    return "".join(parts) + text[at:]


@lru_cache(maxsize=128)
def qualifiers_of(ddl: str, dialect: Dialect) -> Qualifiers:
    """The qualified tables and views of a schema; those that lie where queries look first need no other name."""
    places: dict[str, list[str]] = {}
    for *outer, name in created_names(ddl):
        qualifier = fold(outer[-1]) if outer else ""
        found = places.setdefault(fold(name), [])
        found += [qualifier] if qualifier not in found else []
    names: dict[tuple[str, str], str | None] = {}
    for table, qualifiers in places.items():
        several = len({"" if qualifier in OWN else qualifier for qualifier in qualifiers}) > 1
        for qualifier in qualifiers:
            if qualifier and qualifier not in OWN:
                names[qualifier, table] = f"{qualifier}.{table}" if several else None
            elif qualifier:
                names[qualifier, table] = None
    return Qualifiers(dialect, names)
