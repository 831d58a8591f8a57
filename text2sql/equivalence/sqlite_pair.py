"""Prepares a pair of queries to run on SQLite."""

from __future__ import annotations

import random
from collections.abc import Collection

from text2sql.equivalence import ties
from text2sql.equivalence.pair import GoldFails, PairNotes, PreparedPair, check_query, encodable
from text2sql.equivalence.syntax import RANDOM_FUNCTION, SQLITE
from text2sql.sql.ddl import parse_schema
from text2sql.sql.extract import read_answer
from text2sql.sql.files import file_schema
from text2sql.sql.prepare import Prepared, misread_column, missing_name, prepare
from text2sql.sql.repair import add_column, add_table, possible_table_names, qualify_column, strip_semicolon
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox
from text2sql.sql.schema import Schema, TableSchema, View, used_tables, used_views
from text2sql.sql.statements import is_query
from text2sql.sql.tokens import tokenize

# Tables and columns that a schema may lack, and names that may be ambiguous, before the gold query is given up.
_MAX_REPAIRS = 12


class SqlitePreparation:
    """Schema, gold query and prediction on the way to a pair that runs on SQLite; see `PairPreparation`.

    Args:
        schema: ``CREATE TABLE`` statements, or what was read from them; if empty, those of ``database``.
        gold: The gold query.
        predicted: The prediction as the model wrote it.
        seed: Of what breaks ties.
        database: Path of a real database.
    """

    def __init__(
        self, schema: str | Schema, gold: str, predicted: str, seed: int = 0, database: str | None = None
    ) -> None:
        gold, predicted = map(encodable, (gold, predicted))
        self.answer = read_answer(predicted)
        self.predicted_text = self.answer.sql
        self.notes = PairNotes()
        self._gold_text = strip_semicolon(gold)
        if database is not None and isinstance(schema, str) and not schema.strip():
            schema = file_schema(database)
        self._schema = parse_schema(encodable(schema)) if isinstance(schema, str) else schema
        self._rng = random.Random(seed)
        self._tie_breaker = ties.TieBreaker(self._rng)
        self._tables: dict[str, TableSchema] = {}
        self._sandbox: SqliteSandbox | None = None

    @property
    def refusal(self) -> str:
        """See `PairPreparation`."""
        if self.answer.writes or (self.predicted_text and not is_query(self.predicted_text)):
            return f"it does more than read ({self.answer.writes or self.predicted_text[:40]})"
        return ""

    def prepare(self) -> PreparedPair:
        """See `PairPreparation`."""
        gold = self.prepare_gold()
        predicted = self.prepare_predicted(gold)
        assert self._sandbox is not None
        return PreparedPair(
            gold=gold,
            predicted=predicted,
            schema=self._schema,
            tables=self._tables,
            sandbox=self._sandbox,
            syntax=SQLITE,
            prepare_query=lambda sql: prepare(sql, self._schema, self._check, gold.keywords),
            rng=self._rng,
            tie_breaker=self._tie_breaker,
            notes=self.notes,
        )

    def open_sandbox(self) -> None:
        """Opens a sandbox with the tables that either query may read."""
        self.close()
        names = possible_table_names(self._gold_text) | possible_table_names(self.predicted_text)
        views = used_views(self._schema, names)
        names = names.union(*(view.words for view in views))
        texts = [self._gold_text, self.predicted_text, *(view.query for view in views)]
        self._tables = self._visible_tables(names, every_column=any(map(_sees_all, texts)))
        self._sandbox = _open_sandbox(self._tables, views, texts, self._tie_breaker)

    def _visible_tables(self, names: Collection[str], *, every_column: bool) -> dict[str, TableSchema]:
        return used_tables(self._schema, set(names), every_column=every_column)

    def _check(self, sql: str) -> QueryFailed | None:
        assert self._sandbox is not None
        return check_query(self._sandbox, sql)

    def prepare_gold(self) -> Prepared:
        """Prepares the gold query; adds the tables and columns that its schema forgot.

        Raises:
            GoldFails: If that does not make it run.
        """
        if not is_query(self._gold_text):
            raise GoldFails("it is not a query")
        self.open_sandbox()
        for _ in range(_MAX_REPAIRS):
            try:
                gold = prepare(self._gold_text, self._schema, self._check)
            except QueryFailed as failure:
                if not self._repair(failure):
                    raise GoldFails(str(failure)) from None
            else:
                self.notes.quoted_keywords = gold.keywords
                return gold
        raise GoldFails("its schema lacks too much")

    def _repair(self, failure: QueryFailed) -> bool:
        """Adds what the gold query misses, or qualifies a name; whether that was possible."""
        missing = missing_name(failure)
        if missing is None:
            return False
        kind, name = missing
        if kind == "ambiguous":
            return self._qualify(name)
        self._schema = self._schema.copy()
        if kind == "table":
            add_table(self._schema, name)
        elif not add_column(self._schema, name, self._gold_text, self.predicted_text):
            return False
        self.notes.made_up.append(f"{kind} {name}")
        self.open_sandbox()
        return True

    def _qualify(self, name: str) -> bool:
        qualified = qualify_column(self._gold_text, name, self._schema)
        if qualified is None or qualified == self._gold_text:
            return False
        if self.predicted_text == self._gold_text:
            self.predicted_text = qualified
        self._gold_text = qualified
        return True

    def prepare_predicted(self, gold: Prepared | None) -> Prepared:
        """Prepares the prediction in the open sandbox.

        Args:
            gold: The gold query; None where it does not run.

        Raises:
            QueryFailed: If SQLite does not accept it.
        """
        # A keyword that the data set itself uses as a name is one; where the gold query does without, SQLite decides.
        predicted = prepare(self.predicted_text, self._schema, self._check, gold.keywords if gold else None)
        column = misread_column(predicted)
        # What the gold query itself treats as a string is one.
        if column is not None and not (gold and column in gold.strings):
            raise QueryFailed("error", f"no such column: {column} (in double quotes)")
        return predicted

    def close(self) -> None:
        """See `PairPreparation`."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None


def _open_sandbox(
    tables: dict[str, TableSchema], views: list[View], texts: list[str], tie_breaker: ties.TieBreaker
) -> SqliteSandbox:
    """A sandbox with tables and views, and with the functions that queries of these texts need."""
    sandbox = SqliteSandbox.in_memory(tables.values(), views)
    sandbox.create_function(RANDOM_FUNCTION, tie_breaker)
    text = " ".join(texts)
    ties.sort_aggregates(sandbox, text)
    if "json_" in text.lower():
        sandbox.allow_json_tables()
    return sandbox


def _sees_all(sql: str) -> bool:
    """Whether a query may see columns that it does not name."""
    before = ""
    for token in tokenize(sql):
        if token.keyword == "NATURAL" or (token.text == "*" and before in ("SELECT", "DISTINCT", "ALL", ",", ".")):
            return True
        before = token.keyword
    return False


def compile_prediction(schema: str, gold: str, predicted: str) -> QueryFailed | None:
    """Compiles a prediction against a schema, completed by what its gold query reads; None if SQLite accepts it."""
    preparation = SqlitePreparation(schema, gold, predicted)
    if preparation.refusal:
        return QueryFailed("refused", preparation.refusal)
    if not preparation.predicted_text:
        return QueryFailed("error", "there is no query in it")
    try:
        try:
            gold_query = preparation.prepare_gold()
        except GoldFails:
            gold_query = None
            preparation.open_sandbox()
        preparation.prepare_predicted(gold_query)
    except QueryFailed as failure:
        return failure
    finally:
        preparation.close()
    return None
