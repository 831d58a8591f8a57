"""Prepares a pair of queries to run in an engine."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

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
from text2sql.equivalence.engine_values import engine_column_facts
from text2sql.equivalence.pair import GoldFails, PairNotes, PreparedPair, check_query, encodable
from text2sql.equivalence.syntax import Syntax
from text2sql.sql.prepare import Prepared
from text2sql.sql.repair import possible_table_names, strip_semicolon
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.schema import TableSchema, used_tables, used_views
from text2sql.sql.tokens import fold
from text2sql.sql.values import Value

# Engines divide by no zero and read no number in a word: on such rows a sound query fails, and others are tried.
_MAX_GOLD_FAILURES = 60


@lru_cache(maxsize=8)
def syntax_of(dialect: Dialect, ignores_spelling: bool = False) -> Syntax:
    """How queries of an engine's dialect are read and to_sql.

    Args:
        dialect: The engine's.
        ignores_spelling: Whether collations of the schema overlook more than case.
    """
    return Syntax(
        parse=lambda sql: parse_query(sql, dialect),
        write=lambda tree: to_sql(tree, dialect),
        canonical=lambda tree: canonical_in(tree, dialect),
        random_value=exp.Rand,
        agreed_value=_agreed_value_in_mysql if dialect == "mysql" else _column_itself,
        is_tie=_is_collated_tie if dialect == "mysql" or ignores_spelling else _is_tie,
    )


def _is_tie(a: Value, b: Value) -> bool:
    return a == b


def _is_collated_tie(a: Value, b: Value) -> bool:
    """MySQL's collations are blind for case, unless a schema says otherwise; PostgreSQL's where one says so."""
    if isinstance(a, str) and isinstance(b, str):
        return collation_key(a) == collation_key(b)
    return a == b


def _column_itself(column: exp.Expr) -> exp.Expr:
    """PostgreSQL and DuckDB accept no column that is neither grouped by nor aggregated, unless a key decides it."""
    return column.copy()


def _agreed_value_in_mysql(column: exp.Expr) -> exp.Expr:
    name = to_sql(column, "mysql")
    text = f"CASE WHEN MIN({name}) <=> MAX({name}) AND COUNT({name}) IN (0, COUNT(*)) THEN MIN({name}) ELSE RAND() END"
    query = parse_query(f"SELECT {text}", "mysql")
    assert query is not None
    return query.expressions[0].copy()


@dataclass(frozen=True)
class Translations:
    """Both queries of a pair as SQLite has them.

    Attributes:
        gold: The gold query; None where sqlglot has no translation.
        predicted: The prediction, likewise.
        exact: Whether the translations ask all that the queries do.
    """

    gold: Prepared | None
    predicted: Prepared | None
    exact: bool


@dataclass(frozen=True, kw_only=True)
class EnginePair(PreparedPair):
    """Schema, gold query and prediction of one dialect, ready to run in its engine.

    Attributes:
        dialect: Of schema and queries.
        engine_schema: The schema as the engine is told it.
        translations: Both queries for SQLite.
    """

    dialect: Dialect
    engine_schema: EngineSchema
    translations: Translations

    @property
    def goes_beyond_sqlite(self) -> bool:
        """Whether the queries are about what SQLite does not have: regular expressions, lists, lengths in bytes."""
        return bool(self.column_facts.hints)

    @property
    def sqlite_trees(self) -> list[exp.Expr]:
        """See `PreparedPair`; the queries' own trees where there is no translation."""
        translations = (self.translations.gold, self.translations.predicted)
        queries = zip(translations, (self.gold, self.predicted), strict=True)
        trees = [tree for translated, query in queries if (tree := (translated or query).tree) is not None]
        return trees[:1] if self.gold.sql == self.predicted.sql else trees

    @property
    def dialect_trees(self) -> list[exp.Expr]:
        """See `PreparedPair`; what is a number of days says so."""
        trees = self._trees[: 1 if self.gold.sql == self.predicted.sql else 2]
        return [self.engine_schema.rewrite_date_arithmetic(tree) for tree in trees]

    def order_plan(self, tree: exp.Expr) -> ties.OrderPlan | None:
        """See `PreparedPair`; where there is nothing to take apart, the query runs as it stands."""
        return ties.unordered_plan(self.gold.sql, tree) or super().order_plan(tree)


class EnginePreparation:
    """Schema, gold query and prediction on the way to a pair that runs in an engine; see `PairPreparation`.

    Args:
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        predicted: The prediction as the model wrote it.
        seed: Of what breaks ties.
        engine: Where they run.
    """

    def __init__(self, schema: str, gold: str, predicted: str, seed: int, engine: Engine) -> None:
        schema, gold, predicted = map(encodable, (schema, gold, predicted))
        self._engine, self.dialect = engine, engine.dialect
        self.answer = read_answer_in(predicted, engine.dialect)
        self.notes = PairNotes()
        qualifiers = read_qualifiers(schema, engine.dialect)
        self._ddl = qualifiers.rewrite_schema(schema)
        self._gold_text = qualifiers.rewrite_query(strip_semicolon(gold))
        self.predicted_text = qualifiers.rewrite_query(self.answer.sql)
        self._schema: EngineSchema = read_engine_schema(self._ddl, engine.dialect)
        self._rng = random.Random(seed)
        self._translations = self._translate()
        self._tables: dict[str, TableSchema] = {}
        # Whether rows of one table are seen through another.
        self._inherits_rows = False
        self._sandbox: EngineSandbox | None = None

    def _translate(self) -> Translations:
        nested = {
            column: place.type for (_, column), place in self._schema.columns.items() if place.type.kind in NESTED
        }
        exact = True
        translated: list[Prepared | None] = []
        for tree in self._parsed_texts():
            if tree is None:
                translated.append(None)
                continue
            plain, same = expand_pivots(tree, self._schema.schema)
            exact &= same and not loses_aggregate_order(tree)
            translated.append(
                translate_to_sqlite(
                    rewrite_json_access(self._schema.rewrite_date_arithmetic(plain), nested), self.dialect
                )
            )
        gold, predicted = translated
        return Translations(gold, predicted, exact)

    def _parsed_texts(self) -> list[exp.Expr | None]:
        return [parse_query(text, self.dialect) for text in (self._gold_text, self.predicted_text)]

    @property
    def refusal(self) -> str:
        """See `PairPreparation`."""
        return f"it does more than read ({self.answer.writes})" if self.answer.writes else ""

    def prepare(self) -> EnginePair:
        """See `PairPreparation`."""
        gold = self.prepare_gold()
        predicted = self.prepare_query(self.predicted_text)
        trees = [query.tree for query in (gold, predicted) if query.tree is not None]
        translated = [query.tree for query in self._translated() if query.tree is not None]
        translations = self._translations
        ignores_spelling = any(collation.nondeterministic for collation in self._schema.collations.values())
        return EnginePair(
            gold=gold,
            predicted=predicted,
            schema=self._schema.schema,
            tables=self._tables,
            sandbox=self._opened_sandbox,
            syntax=syntax_of(self.dialect, ignores_spelling),
            prepare_query=self.prepare_query,
            rng=self._rng,
            tie_breaker=ties.TieBreaker(self._rng),
            notes=self.notes,
            column_facts=engine_column_facts(self._schema, trees, translated, self._inherits_rows),
            max_gold_failures=_MAX_GOLD_FAILURES,
            dialect=self.dialect,
            engine_schema=self._schema,
            # To SQLite no table is seen through another.
            translations=Translations(
                translations.gold, translations.predicted, translations.exact and not self._inherits_rows
            ),
        )

    def _translated(self) -> list[Prepared]:
        queries = (self._translations.gold, self._translations.predicted)
        return [query for query in queries if query is not None]

    def prepare_gold(self) -> Prepared:
        """Prepares the gold query; where it takes names without case that the schema has in quotes, so does the pair.

        Data sets quote every name of a schema, and none in their queries.

        Raises:
            GoldFails: It does not run.
        """
        try:
            return self._prepare_gold()
        except GoldFails:
            if not self._schema.has_quoted_case:
                raise
            self.notes.ignores_quoted_case = True
            self._schema = read_engine_schema(self._ddl, self.dialect, ignore_quotes=True)
            return self._prepare_gold()

    def _prepare_gold(self) -> Prepared:
        self._refuse_unknown_types()
        try:
            self.open_sandbox()
        except QueryFailed as failure:
            raise GoldFails(f"{DISPLAY_NAMES[self.dialect]} does not accept the schema: {failure}") from None
        try:
            return self._prepare_text(self._gold_text)
        except QueryFailed as failure:
            raise GoldFails(str(failure)) from None

    def _refuse_unknown_types(self) -> None:
        """Gives a pair up that does more than show a column whose values are not known here."""
        unknown = {key: place.type.opaque for (_, key), place in self._schema.columns.items() if place.type.opaque}
        for tree in self._parsed_texts() if unknown else ():
            for column in tree.find_all(exp.Column) if tree is not None else ():
                # A field of a DuckDB struct looks like a column of a table.
                name = next((part for part in (fold(column.name), fold(column.table)) if part in unknown), None)
                if name is not None and (name != fold(column.name) or not isinstance(column.parent, exp.Select)):
                    reason = f"column {name} has the type {unknown[name]}, of which no values are made for comparisons"
                    raise GoldFails(reason)

    def open_sandbox(self) -> None:
        """Creates the tables that either query may read.

        Raises:
            QueryFailed: The engine does not accept them.
        """
        self.close()
        schema = self._schema.schema
        # Every name in either query, and in either translation.
        texts = [self._gold_text, self.predicted_text, *(query.sql for query in self._translated())]
        names = set[str]().union(*map(possible_table_names, texts))
        views = used_views(schema, names)
        names = names.union(*(view.words for view in views))
        trees = self._parsed_texts()
        names = names.union(*(self._descendants(tree) for tree in trees if tree is not None))
        every_column = bool(views) or any(tree is None or _sees_all(tree) for tree in trees)
        used = used_tables(schema, names, every_column=every_column)
        self._tables = self._schema.with_partition_checks(used)
        self._inherits_rows = any(self._schema.inheritance.nearest_ancestors(name, used) for name in used)
        self._sandbox = EngineSandbox(self._engine, self._schema, self._tables, views)

    def _descendants(self, tree: exp.Expr) -> set[str]:
        """The tables that a query leaves out by ONLY."""
        parents = [fold(table.name) for table in tree.find_all(exp.Table) if table.args.get("only")]
        inheritance = self._schema.inheritance
        return {
            name
            for name in self._schema.schema.tables
            if any(inheritance.nearest_ancestors(name, [top]) for top in parents)
        }

    @property
    def _opened_sandbox(self) -> EngineSandbox:
        assert self._sandbox is not None
        return self._sandbox

    def prepare_query(self, text: str) -> Prepared:
        """Prepares a query that is not the gold one in the open sandbox.

        Raises:
            QueryFailed: The guard or the engine does not accept it.
        """
        query = self._prepare_text(text)
        if self.dialect == "mysql":
            self._shuffle(query)
        return query

    def _shuffle(self, query: Prepared) -> None:
        """Has a query without an order return its rows in a random one where the order of rows is perturbed."""
        tree = query.tree
        if isinstance(tree, exp.Select) and not tree.args.get("order") and not tree.args.get("limit"):
            shuffled = to_sql(tree.copy().order_by(exp.Rand()), self.dialect)
            if check_query(self._opened_sandbox, shuffled) is None:
                self._opened_sandbox.shuffle(query.sql, shuffled)

    def _prepare_text(self, text: str) -> Prepared:
        sql = strip_qualifiers(guard_query(text, self.dialect, self._reach()), self.dialect, DEFAULT_SCHEMAS)
        sql = qualify_collations(sql, self._schema.collations)
        if self.dialect == "mysql":
            sql = restore_table_case(sql, {fold(table.name): table.name for table in self._tables.values()})
        self._opened_sandbox.check(sql)
        tree = parse_query(sql, self.dialect)
        ordered = order_collecting_aggregates(tree, self.dialect) if tree is not None else None
        if ordered is not None:
            changed = to_sql(ordered, self.dialect)
            if check_query(self._opened_sandbox, changed) is None:
                sql, tree = changed, ordered
        return Prepared(sql, tree=tree)

    def _reach(self) -> ReadScope:
        schema = self._schema.schema
        names = {*schema.tables, *schema.views}
        return ReadScope(
            frozenset(names | {f"{own}.{name}" for own in DEFAULT_SCHEMAS for name in names}), DEFAULT_SCHEMAS
        )

    def close(self) -> None:
        """See `PairPreparation`."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None


def _sees_all(tree: exp.Expr) -> bool:
    """Whether a query may see columns that it does not name."""
    if any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star)):
        return True
    if any(str(join.args.get("method") or "").upper() == "NATURAL" for join in tree.find_all(exp.Join)):
        return True
    tables = {fold(table.alias_or_name) for table in tree.find_all(exp.Table)}
    # The name of a table stands for its whole row, and COLUMNS(...) for many columns.
    names_row = any(fold(column.name) in tables and not column.table for column in tree.find_all(exp.Column))
    return names_row or tree.find(exp.Columns, exp.Pivot) is not None


def compile_in_engine(schema: str, gold: str, predicted: str, dialect: Dialect) -> QueryFailed | None:
    """Runs a prediction on empty tables of a schema; None if the engine accepts it.

    Raises:
        EngineMissing: The engine cannot be had.
    """
    preparation = EnginePreparation(schema, gold, predicted, 0, open_engine(dialect))
    if preparation.refusal:
        return QueryFailed("refused", preparation.refusal)
    if not preparation.predicted_text:
        return QueryFailed("error", "there is no query in it")
    try:
        preparation.open_sandbox()
        preparation.prepare_query(preparation.predicted_text)
    except QueryFailed as failure:
        return failure
    finally:
        preparation.close()
    return None
