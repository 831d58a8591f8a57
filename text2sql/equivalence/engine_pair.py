"""A pair of queries made ready to run in an engine."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cached_property, lru_cache

from sqlglot import exp

from text2sql.engines.answers import read_answer_in
from text2sql.engines.declared.created_collations import collation_key, qualify_collations
from text2sql.engines.declared.qualifiers import read_qualifiers
from text2sql.engines.declared.spelling import DEFAULT_SCHEMAS, restore_table_case, strip_qualifiers
from text2sql.engines.declared.types import NESTED
from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.engines.guard import ReadScope, guard_query
from text2sql.engines.sandbox.engine import Engine, open_engine
from text2sql.engines.sandbox.engine_sandbox import EngineSandbox
from text2sql.engines.sandbox.engine_schema import EngineSchema
from text2sql.engines.sandbox.schema_reader import read_engine_schema
from text2sql.engines.translation.json_access import rewrite_json_access
from text2sql.engines.translation.pivots import expand_pivots
from text2sql.engines.translation.to_sqlite import loses_aggregate_order, translate_to_sqlite
from text2sql.engines.trees import canonical_in, order_collecting_aggregates, parse_query, to_sql
from text2sql.equivalence import ties
from text2sql.equivalence.engine_values import engine_values, fractional_columns, padded_columns
from text2sql.equivalence.pair import GoldFails, PreparedPair, encodable
from text2sql.equivalence.syntax import Syntax
from text2sql.sql.prepare import Prepared
from text2sql.sql.repair import possible_table_names, strip_semicolon
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.schema import used_tables, used_views
from text2sql.sql.tokens import fold
from text2sql.sql.values import Value


@lru_cache(maxsize=8)
def syntax_of(dialect: Dialect, blind: bool = False) -> Syntax:
    """How queries of an engine's dialect are read and written; `blind` says that collations overlook more than case."""
    settled: Callable[[exp.Expr], exp.Expr] = _settled_in_mysql if dialect == "mysql" else lambda column: column.copy()
    return Syntax(
        parse=lambda sql: parse_query(sql, dialect),
        write=lambda tree: to_sql(tree, dialect),
        chance=exp.Rand,
        settled=settled,
        tied=_tied_blindly if dialect == "mysql" or blind else _tied,
    )


def _tied(a: Value, b: Value) -> bool:
    return a == b


def _tied_blindly(a: Value, b: Value) -> bool:
    """MySQL's collations are blind for case, unless a schema says otherwise; PostgreSQL's where one says so."""
    if isinstance(a, str) and isinstance(b, str):
        return collation_key(a) == collation_key(b)
    return a == b


def _settled_in_mysql(column: exp.Expr) -> exp.Expr:
    name = to_sql(column, "mysql")
    text = f"CASE WHEN MIN({name}) <=> MAX({name}) AND COUNT({name}) IN (0, COUNT(*)) THEN MIN({name}) ELSE RAND() END"
    found = parse_query(f"SELECT {text}", "mysql")
    assert found is not None
    return found.expressions[0].copy()


class EnginePair(PreparedPair):
    """Schema, gold query and prediction of one dialect, run in its engine.

    Attributes:
        translations: Both queries for SQLite; None where sqlglot has none.
        exact: Whether the translations ask all that the queries do.
        engine_schema: The schema as the engine is told it.
        unseen: Whether the queries are about what SQLite does not have: regular expressions, lists, lengths in bytes.
    """

    box: EngineSandbox
    unseen = False
    # Engines divide by no zero and read no number in a word: on such rows a sound query fails, and others are tried.
    patience = 60

    def __init__(self, schema: str, gold: str, predicted: str, seed: int, engine: Engine) -> None:
        schema, gold, predicted = map(encodable, (schema, gold, predicted))
        self._engine, self.dialect = engine, engine.dialect
        self.answer = read_answer_in(predicted, engine.dialect)
        places = read_qualifiers(schema, engine.dialect)
        schema = places.rewrite_schema(schema)
        self._gold_text, self.predicted_text = (
            places.rewrite_query(strip_semicolon(gold)),
            places.rewrite_query(self.answer.sql),
        )
        self._ddl = schema
        self.engine_schema: EngineSchema = read_engine_schema(schema, engine.dialect)
        self.schema = self.engine_schema.schema
        self.syntax = syntax_of(
            engine.dialect, any(known.nondeterministic for known in self.engine_schema.collations.values())
        )
        self._folded = False
        self.padded = padded_columns(self.engine_schema)
        self.fractional = fractional_columns(self.engine_schema)
        self.added: list[str] = []
        self.unused_database: str | None = None
        self.rng = random.Random(seed)
        self.chance = ties.Chance(self.rng)
        found = [parse_query(text, self.dialect) for text in (self._gold_text, self.predicted_text)]
        self._nested = {
            column: place.type for (_, column), place in self.engine_schema.columns.items() if place.type.kind in NESTED
        }
        self.exact = True
        self.translations = tuple(map(self._translated, found))

    def _translated(self, tree: exp.Expr | None) -> Prepared | None:
        if tree is None:
            return None
        plain, same = expand_pivots(tree, self.schema)
        self.exact &= same and not loses_aggregate_order(tree)
        return translate_to_sqlite(
            rewrite_json_access(self.engine_schema.rewrite_date_arithmetic(plain), self._nested), self.dialect
        )

    @property
    def refusal(self) -> str:
        """Why the answer is refused before the engine sees anything of it; empty if it is not."""
        return f"it does more than read ({self.answer.writes})" if self.answer.writes else ""

    @property
    def words(self) -> set[str]:
        """Every name in either query, and in either translation."""
        texts = [self._gold_text, self.predicted_text, *(query.sql for query in self.translations if query)]
        return set[str]().union(*map(possible_table_names, texts))

    def open(self) -> None:
        """Creates the tables that either query may read."""
        if hasattr(self, "box"):
            self.box.close()
        names = self.words
        views = used_views(self.schema, names)
        names = names.union(*(view.words for view in views))
        trees = [parse_query(text, self.dialect) for text in (self._gold_text, self.predicted_text)]
        names = names.union(*(self._below(tree) for tree in trees if tree is not None))
        stars = bool(views) or any(tree is None or _sees_all(tree) for tree in trees)
        used = used_tables(self.schema, names, every_column=stars)
        self.tables = self.engine_schema.with_partition_checks(used)
        self._inherited = any(self.engine_schema.inheritance.nearest_ancestors(name, used) for name in used)
        # To SQLite no table is seen through another.
        self.exact &= not self._inherited
        self.box = EngineSandbox(self._engine, self.engine_schema, self.tables, views)

    def _below(self, tree: exp.Expr) -> set[str]:
        """The tables that a query leaves out by ONLY."""
        named = [fold(table.name) for table in tree.find_all(exp.Table) if table.args.get("only")]
        return {
            name
            for name in self.schema.tables
            if any(self.engine_schema.inheritance.nearest_ancestors(name, [top]) for top in named)
        }

    def prepare_gold(self) -> None:
        """Prepares the gold query; where it takes names without case that the schema has in quotes, so does the pair.

        Data sets quote every name of a schema, and none in their queries.

        Raises:
            GoldFails: It does not run.
        """
        try:
            self._prepare_gold()
        except GoldFails:
            if not self.engine_schema.has_quoted_case:
                raise
            self._folded = True
            self.engine_schema = read_engine_schema(self._ddl, self.dialect, ignore_quotes=True)
            self.schema = self.engine_schema.schema
            self._prepare_gold()

    @property
    def notes(self) -> list[str]:
        """What was done to make the queries run, in words for the verdict."""
        return ["The schema's names in quotes are taken for names without, as the gold query has them."] * self._folded

    def _prepare_gold(self) -> None:
        self._refuse_foreign()
        try:
            self.open()
        except QueryFailed as failure:
            raise GoldFails(f"{DISPLAY_NAMES[self.dialect]} does not accept the schema: {failure}") from None
        try:
            self.gold = self._prepared(self._gold_text)
        except QueryFailed as failure:
            raise GoldFails(str(failure)) from None

    def _refuse_foreign(self) -> None:
        """Gives a pair up that does more than show a column whose values are not known here."""
        foreign = {
            key: place.type.opaque for (_, key), place in self.engine_schema.columns.items() if place.type.opaque
        }
        for text in (self._gold_text, self.predicted_text) if foreign else ():
            tree = parse_query(text, self.dialect)
            for column in tree.find_all(exp.Column) if tree is not None else ():
                # A field of a DuckDB struct looks like a column of a table.
                name = next((part for part in (fold(column.name), fold(column.table)) if part in foreign), None)
                if name is not None and (name != fold(column.name) or not isinstance(column.parent, exp.Select)):
                    reason = f"column {name} has the type {foreign[name]}, of which no values are made for comparisons"
                    raise GoldFails(reason)

    def prepare_predicted(self) -> None:
        """Prepares the prediction.

        Raises:
            QueryFailed: The guard or the engine does not accept it.
        """
        self.predicted = self.mutated(self.predicted_text)
        trees = [query.tree for query in (self.gold, self.predicted) if query.tree is not None]
        translated = [query.tree for query in self.translations if query is not None and query.tree is not None]
        found = engine_values(self.engine_schema, trees, translated, self._inherited)
        self.made, self.hints, self.swept, self.unseen = found.made, found.hints, found.swept, found.unseen

    def mutated(self, sql: str) -> Prepared:
        """See `PreparedPair`."""
        found = self._prepared(sql)
        if self.dialect == "mysql":
            self._shuffle(found)
        return found

    def _shuffle(self, query: Prepared) -> None:
        tree = query.tree
        if isinstance(tree, exp.Select) and not tree.args.get("order") and not tree.args.get("limit"):
            shuffled = to_sql(tree.copy().order_by(exp.Rand()), self.dialect)
            if self.check(shuffled) is None:
                self.box.shuffle(query.sql, shuffled)

    def _prepared(self, text: str) -> Prepared:
        sql = strip_qualifiers(guard_query(text, self.dialect, self._reach()), self.dialect, DEFAULT_SCHEMAS)
        sql = qualify_collations(sql, self.engine_schema.collations)
        if self.dialect == "mysql":
            sql = restore_table_case(sql, {fold(table.name): table.name for table in self.tables.values()})
        self.box.check(sql)
        tree = parse_query(sql, self.dialect)
        ordered = order_collecting_aggregates(tree, self.dialect) if tree is not None else None
        if ordered is not None:
            changed = to_sql(ordered, self.dialect)
            if self.check(changed) is None:
                sql, tree = changed, ordered
        return Prepared(sql, tree=tree)

    def _reach(self) -> ReadScope:
        names = {*self.schema.tables, *self.schema.views}
        return ReadScope(
            frozenset(names | {f"{own}.{name}" for own in DEFAULT_SCHEMAS for name in names}), DEFAULT_SCHEMAS
        )

    @cached_property
    def plan_trees(self) -> list[exp.Expr]:
        """The trees that databases are made for: in SQLite's dialect where there is a translation."""
        found = zip(self.translations, (self.gold, self.predicted), strict=True)
        trees = [tree for translated, query in found if (tree := (translated or query).tree) is not None]
        return trees[:1] if self.gold.sql == self.predicted.sql else trees

    @property
    def own_trees(self) -> list[exp.Expr]:
        """See `PreparedPair`; what is a number of days says so."""
        trees = [query.tree for query in (self.gold, self.predicted) if query.tree is not None]
        return [
            self.engine_schema.rewrite_date_arithmetic(tree)
            for tree in trees[: 1 if self.gold.sql == self.predicted.sql else 2]
        ]

    @cached_property
    def collation_key(self) -> bool:
        """See `PreparedPair`; asked before the scout is sent, and again."""
        return super().alike

    def order_plan(self, tree: exp.Expr) -> ties.OrderPlan | None:
        """See `PreparedPair`; where there is nothing to take apart, the query runs as it stands."""
        return ties.unordered(self.gold.sql, tree) or super().order_plan(tree)

    def _canonical(self, tree: exp.Expr) -> str:
        return canonical_in(tree, self.dialect)


def _sees_all(tree: exp.Expr) -> bool:
    """Whether a query may see columns that it does not name."""
    if any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star)):
        return True
    if any(str(join.args.get("method") or "").upper() == "NATURAL" for join in tree.find_all(exp.Join)):
        return True
    tables = {fold(table.alias_or_name) for table in tree.find_all(exp.Table)}
    # The name of a table stands for its whole row, and COLUMNS(...) for many columns.
    whole = any(fold(column.name) in tables and not column.table for column in tree.find_all(exp.Column))
    return whole or tree.find(exp.Columns, exp.Pivot) is not None


def compile_in_engine(schema: str, gold: str, predicted: str, dialect: Dialect) -> QueryFailed | None:
    """Runs a prediction on empty tables of a schema; None if the engine accepts it.

    Raises:
        EngineMissing: The engine cannot be had.
    """
    pair = EnginePair(schema, gold, predicted, 0, open_engine(dialect))
    pair.gold = Prepared("")
    if pair.refusal or not pair.predicted_text:
        return QueryFailed("refused" if pair.refusal else "error", pair.refusal or "there is no query in it")
    try:
        pair.open()
        pair.prepare_predicted()
    except QueryFailed as failure:
        return failure
    finally:
        pair.close()
    return None
