"""Tables of several schemas, ``sales.orders`` and ``archive.orders``, renamed for made databases without schemas.

Table names lose their qualifiers. Where two tables would then have the same name, the qualifier becomes a part of the
name: the table ``"archive.orders"``. The rest of a query's text stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sqlglot import exp

from text2sql.engines.declared.spelling import DEFAULT_SCHEMAS
from text2sql.engines.dialect import Dialect
from text2sql.engines.trees import parse_query
from text2sql.sql.ddl import created_names
from text2sql.sql.dumps import blank_non_sql
from text2sql.sql.tokens import fold, quote_identifier, tokenize

# The start and the end of a stretch of text, and what replaces it.
_Change = tuple[int, int, str]


@dataclass(frozen=True)
class Qualifiers:
    """The qualified tables of a schema.

    Attributes:
        dialect: The dialect of the schema and its queries.
        names: By lower-case qualifier and table, the name in made databases; None where the table keeps its name.
    """

    dialect: Dialect
    names: Mapping[tuple[str, str], str | None]

    def rewrite_schema(self, ddl: str) -> str:
        """The statements of a schema with the names in made databases."""
        ddl = blank_non_sql(ddl)
        if not self.names:
            return ddl
        tokens, changes = tokenize(ddl), list[_Change]()
        for first, dot, last in zip(tokens, tokens[1:], tokens[2:], strict=False):
            pair = fold(first.name), fold(last.name)
            if dot.text == "." and first.kind != "string" and pair in self.names:
                changes.append((first.start, last.end, self._made_name(pair, last.text)))
        return _apply_changes(ddl, changes)

    def rewrite_query(self, sql: str) -> str:
        """A query with the names in made databases; unchanged where sqlglot cannot parse it."""
        lowered = sql.lower()
        if not any(qualifier in lowered for qualifier, _ in self.names):
            return sql
        tree = parse_query(sql, self.dialect)
        return sql if tree is None else _apply_changes(sql, list(self._changes(sql, tree)))

    def _changes(self, sql: str, tree: exp.Expr) -> Iterator[_Change]:
        for node in tree.find_all(exp.Table, exp.Column):
            qualifier, table = node.args.get("db"), node.args.get("this" if isinstance(node, exp.Table) else "table")
            if not isinstance(qualifier, exp.Identifier) or not isinstance(table, exp.Identifier):
                continue
            pair = fold(qualifier.name), fold(table.name)
            start, end = qualifier.meta.get("start"), table.meta.get("end")
            if pair not in self.names or start is None or end is None or node.args.get("catalog"):
                continue
            spelling = sql[table.meta["start"] : end + 1]
            if fold(spelling.strip('"`[]')) != pair[1]:
                # The positions are those of another text than this one.
                continue
            if isinstance(node, exp.Column) or self.names[pair] is None:
                yield start, end + 1, spelling
            else:
                # The rest of the query goes on calling it by its old name.
                alias = "" if node.args.get("alias") else f" AS {spelling}"
                yield start, end + 1, self._made_name(pair, spelling) + alias

    def _made_name(self, pair: tuple[str, str], spelling: str) -> str:
        name = self.names[pair]
        return spelling if name is None else quote_identifier(name, "`" if self.dialect == "mysql" else '"')


def _apply_changes(text: str, changes: list[_Change]) -> str:
    parts, position = list[str](), 0
    for start, end, replacement in sorted(changes):
        parts += [text[position:start], replacement]
        position = end
    return "".join(parts) + text[position:]


@lru_cache(maxsize=128)
def read_qualifiers(ddl: str, dialect: Dialect) -> Qualifiers:
    """The qualified tables and views of a schema; those in a default schema keep their names."""
    qualifiers_by_table: dict[str, list[str]] = {}
    for *outer, name in created_names(ddl):
        qualifier = fold(outer[-1]) if outer else ""
        qualifiers = qualifiers_by_table.setdefault(fold(name), [])
        qualifiers += [qualifier] if qualifier not in qualifiers else []
    names: dict[tuple[str, str], str | None] = {}
    for table, qualifiers in qualifiers_by_table.items():
        is_ambiguous = len({"" if qualifier in DEFAULT_SCHEMAS else qualifier for qualifier in qualifiers}) > 1
        for qualifier in qualifiers:
            if qualifier and qualifier not in DEFAULT_SCHEMAS:
                names[qualifier, table] = f"{qualifier}.{table}" if is_ambiguous else None
            elif qualifier:
                names[qualifier, table] = None
    return Qualifiers(dialect, names)
