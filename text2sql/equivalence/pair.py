"""A pair of queries made ready to run on one sandbox."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from sqlglot import exp

from text2sql.equivalence import ties
from text2sql.equivalence.box import Box
from text2sql.equivalence.syntax import SHAKE, SQLITE, Syntax
from text2sql.sql.canonical import canonical
from text2sql.sql.ddl import parse_schema
from text2sql.sql.extract import read_answer
from text2sql.sql.files import file_schema
from text2sql.sql.prepare import Prepared, misread_column, missing_name, prepare
from text2sql.sql.repair import add_column, add_table, possible_table_names, qualify_column, strip_semicolon
from text2sql.sql.sandbox import QueryFailed, Sandbox, is_write
from text2sql.sql.schema import Schema, TableSchema, used_tables, used_views
from text2sql.sql.tokens import tokenize
from text2sql.sql.values import Value


class GoldFails(Exception):
    """The gold query does not run: nothing can be decided."""


# What makes one of several rows, so that one spelling of a text stands for others.
_GROUPING = (exp.Distinct, exp.Group, exp.SetOperation, exp.Min, exp.Max)


class PreparedPair:
    """Schema, gold query and prediction; the prediction is as the model wrote it.

    Attributes:
        answer: What the prediction's text holds.
        gold: The gold query, after `prepare_gold`.
        predicted: The prediction, after `prepare_predicted`.
        schema: The schema, completed by what the gold query reads.
        tables: The tables that either query may read, by lower-case name, with the columns that it may see.
        added: What the gold query reads and its schema lacks.
        unused_database: Why the real database takes no part in the verdict; None if it does, or there is none.
        box: A sandbox with these tables.
        syntax: The dialect in which both are run.
        patience: Databases on which the gold query may fail before it is given up.
        made: By lower-case names of columns whose values have parts, the values that they hold.
        padded: Lower-case names of columns whose texts are equal where they differ in spaces at the end alone.
        fractional: Lower-case names of columns that hold fractions of a second.
        hints: By lower-case names of columns, values that they should hold besides those that the plan finds.
        swept: Those of them each of which is tried whatever the seed.
    """

    gold: Prepared
    predicted: Prepared
    box: Box
    tables: dict[str, TableSchema]
    syntax: Syntax = SQLITE
    patience: int = 6
    hints: Mapping[str, Sequence[Value]] = MappingProxyType({})
    padded: Collection[str] = frozenset()
    fractional: Collection[str] = frozenset()
    made: Mapping[str, Sequence[Value]] = MappingProxyType({})
    swept: Mapping[str, Sequence[Value]] = MappingProxyType({})
    _given: dict[str, TableSchema] | None = None

    def __init__(self, schema: str | Schema, gold: str, predicted: str, database: str | None, seed: int) -> None:
        gold, predicted = map(encodable, (gold, predicted))
        self.answer = read_answer(predicted)
        self._gold_text, self.predicted_text = strip_semicolon(gold), self.answer.sql
        if database is not None and isinstance(schema, str) and not schema.strip():
            schema = file_schema(database)
        self.schema = parse_schema(encodable(schema)) if isinstance(schema, str) else schema
        self.added: list[str] = []
        self.unused_database: str | None = None
        self.rng = random.Random(seed)
        self.chance = ties.Chance(self.rng)

    @property
    def refusal(self) -> str:
        """Why the answer is refused before anything of it is compiled; empty if it is not."""
        if self.answer.writes or (self.predicted_text and is_write(self.predicted_text)):
            return f"it does more than read ({self.answer.writes or self.predicted_text[:40]})"
        return ""

    @property
    def notes(self) -> list[str]:
        """What was done to make the queries run, in words for the verdict."""
        keywords = sorted(self.gold.keywords) if hasattr(self, "gold") else []
        return [
            *([f"Not in the schema, made up for the gold query: {', '.join(self.added)}."] if self.added else []),
            *([f"The real database takes no part: {self.unused_database}."] if self.unused_database else []),
            *([f"Quoted, because SQLite takes them for keywords: {', '.join(keywords)}."] if keywords else []),
        ]

    def open(self) -> None:
        """Opens a sandbox with the tables that either query may read, or with those given."""
        if hasattr(self, "box"):
            self.box.close()
        names = possible_table_names(self._gold_text) | possible_table_names(self.predicted_text)
        views = used_views(self.schema, names)
        names = names.union(*(view.words for view in views))
        stars = any(map(_sees_all, (self._gold_text, self.predicted_text, *(view.query for view in views))))
        self.tables = used_tables(self.schema, names, every_column=stars) if self._given is None else self._given
        box = Sandbox.in_memory(self.tables.values(), views)
        box.create_function(SHAKE, self.chance)
        texts = " ".join((self._gold_text, self.predicted_text, *(view.query for view in views)))
        ties.settle_aggregates(box, texts)
        if "json_" in texts.lower():
            box.allow_json_tables()
        self.box = box

    def check(self, sql: str) -> QueryFailed | None:
        """Compiles a query; returns why it failed, None if it did not."""
        try:
            self.box.check(sql)
        except QueryFailed as failure:
            return failure
        return None

    def prepare_gold(self) -> None:
        """Prepares the gold query; adds the tables and columns that its schema forgot.

        Raises:
            GoldFails: If that does not make it run.
        """
        if not self._gold_text or is_write(self._gold_text):
            raise GoldFails("it is not a query")
        self.open()
        for _ in range(12):
            try:
                self.gold = prepare(self._gold_text, self.schema, self.check)
                break
            except QueryFailed as failure:
                if not self._repair(failure):
                    raise GoldFails(str(failure)) from None
        else:
            raise GoldFails("its schema lacks too much")

    def _repair(self, failure: QueryFailed) -> bool:
        missing = missing_name(failure)
        if missing is None:
            return False
        kind, name = missing
        if kind == "ambiguous":
            qualified = qualify_column(self._gold_text, name, self.schema)
            if qualified is None or qualified == self._gold_text:
                return False
            if self.predicted_text == self._gold_text:
                self.predicted_text = qualified
            self._gold_text = qualified
            return True
        self.schema = self.schema.copy()
        if kind == "table":
            add_table(self.schema, name)
        elif not add_column(self.schema, name, self._gold_text, self.predicted_text):
            return False
        self.added.append(f"{kind} {name}")
        self.open()
        return True

    def prepare_predicted(self) -> None:
        """Prepares the prediction.

        Raises:
            QueryFailed: If SQLite does not accept it.
        """
        # A keyword that the data set itself uses as a name is one; where the gold query does without, SQLite decides.
        allowed = self.gold.keywords if self.gold.sql else None
        self.predicted = prepare(self.predicted_text, self.schema, self.check, allowed)
        column = misread_column(self.predicted)
        # What the gold query itself treats as a string is one.
        if column is not None and column not in self.gold.strings:
            raise QueryFailed("error", f"no such column: {column} (in double quotes)")

    def mutated(self, sql: str) -> Prepared:
        """Another query of the pair's dialect, made from the gold query, ready to stand in the prediction's place.

        Raises:
            QueryFailed: It is not accepted.
        """
        return prepare(sql, self.schema, self.check, self.gold.keywords)

    @property
    def understood(self) -> bool:
        """Whether databases can be made for both queries; of two queries that read the same that does not matter."""
        return self.gold.sql == self.predicted.sql or (self.gold.tree is not None and self.predicted.tree is not None)

    @property
    def blind(self) -> bool:
        """Whether texts of several spellings are one, so that which of them stands for a group is open."""
        collated = any(column.collation for table in self.tables.values() for column in table.columns.values())
        trees = [query.tree for query in (self.gold, self.predicted) if query.tree is not None]
        return collated and any(tree.find(*_GROUPING) is not None for tree in trees)

    @property
    def alike(self) -> bool:
        """Whether both are the same query, written alike."""
        gold, predicted = self.gold, self.predicted
        if gold.tree is None or predicted.tree is None:
            return False
        if gold.sql == predicted.sql:
            return True
        # The normal form keeps all literals, and takes long to find.
        same = _literals(gold.tree) == _literals(predicted.tree)
        return same and self._canonical(gold.tree) == self._canonical(predicted.tree)

    def order_plan(self, tree: exp.Expr) -> ties.OrderPlan | None:
        """How the gold query is run so that its ties can be seen."""
        return ties.plan_order(tree, self.syntax)

    def _canonical(self, tree: exp.Expr) -> str:
        return canonical(tree)

    @property
    def plan_trees(self) -> list[exp.Expr]:
        """The trees that databases are made for, in SQLite's dialect; that of the gold query first."""
        trees = [query.tree for query in (self.gold, self.predicted) if query.tree is not None]
        return trees[:1] if self.gold.sql == self.predicted.sql else trees

    @property
    def own_trees(self) -> list[exp.Expr]:
        """The trees in the dialect that the queries are written in."""
        return self.plan_trees

    def close(self) -> None:
        """Closes the sandbox."""
        if hasattr(self, "box"):
            self.box.close()


def _literals(tree: exp.Expr) -> Counter[tuple[str, bool]]:
    return Counter((str(literal.this), bool(literal.is_string)) for literal in tree.find_all(exp.Literal))


def encodable(text: str) -> str:
    """A text that SQLite can read: without NUL, and with the replacement sign for half a surrogate pair."""
    return text.replace("\x00", " ").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


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
    pair = PreparedPair(schema, gold, predicted, None, 0)
    if pair.refusal or not pair.predicted_text:
        return QueryFailed("refused" if pair.refusal else "error", pair.refusal or "there is no query in it")
    try:
        try:
            pair.prepare_gold()
        except GoldFails:
            pair.open()
            pair.gold = Prepared("")
        pair.prepare_predicted()
    except QueryFailed as failure:
        return failure
    finally:
        pair.close()
    return None
