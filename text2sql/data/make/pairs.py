"""`text2sql data make`: makes pairs of question and SQL from a database, verifies them on it, and writes JSON Lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from text2sql.console import console, progress_bar
from text2sql.data.make.describe import describe_database
from text2sql.data.make.options import MakeOptions
from text2sql.data.make.query import Draft, View
from text2sql.data.make.shapes import SHAPES
from text2sql.data.make.verify import Rejected, Verifier, tables_of
from text2sql.data.schema_cut import cut_schema
from text2sql.engines.url import Location
from text2sql.engines.user_databases.connection import Database
from text2sql.engines.user_databases.inspect import DatabaseSchema, read_schema
from text2sql.engines.user_databases.opening import open_database
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory
from text2sql.runs.outputs import Output, check_outputs
from text2sql.runs.record_files import begins_with, read_records
from text2sql.runs.records import Record, optional

# Rejected drafts in a row after which the schema counts as exhausted.
_MAX_REJECTED_IN_A_ROW = 3000
# Tables and columns that are not asked about and are named.
_MAX_LEFT_OUT = 40
# Pairs that are saved together.
_CHUNK = 20
# New pairs from which on the report shows a rate.
_MIN_PAIRS_FOR_RATE = 200
# Pairs that suffice for the quickstart's test size.
_ENOUGH_FOR_QUICKSTART = 240


class MadePair(Record):
    """A verified pair: a line of the output file."""

    id: str
    question: str
    context: str
    answer: str
    db_id: str
    dialect: str
    made_by: str
    digest: str
    db: str | None = optional()


def make_pairs(options: MakeOptions) -> None:
    """Makes pairs until there are as many as asked for, or the schema is exhausted.

    Every query is executed and has rows, no two are equivalent by verdict, and the question mentions every value of its
    query. A second start continues an existing file.

    Raises:
        UserError: The database cannot be read, has nothing to ask about, or the file holds other pairs or something
            else.
    """
    own = Output("--output", options.output, lambda path: begins_with(path, MadePair), ".jsonl")
    check_outputs([own], [options.location.path] if options.location.path else [])
    if options.teacher is not None:
        from text2sql.data.make.teacher import check_teacher

        check_teacher(options.teacher)
    with open_database(options.location, allow_writable_role=options.allow_writable_role) as database:
        schema = read_schema(database)
        description = describe_database(database, schema)
        view = description.view
        _print_left_out(description.left_out)
        if not view.domain.tables:
            raise UserError(
                f"--database: {options.location.display_name} has no table with rows that could be asked about; fill "
                "some, or give another database."
            )
        maker = _Maker(options, database, schema, view)
        maker.run()
        maker.report()


def _print_left_out(left_out: Sequence[str]) -> None:
    """Prints the tables and columns that no pair asks about."""
    if left_out:
        more = f", and {len(left_out) - _MAX_LEFT_OUT:,} more" if len(left_out) > _MAX_LEFT_OUT else ""
        names = ", ".join(left_out[:_MAX_LEFT_OUT])
        console.print(f"Not asked about: {names}{more}.", soft_wrap=True, markup=False, highlight=False)


class _Maker:
    """One run of the command: the pairs that the file has already, and the new ones."""

    def __init__(self, options: MakeOptions, database: Database, schema: DatabaseSchema, view: View) -> None:
        self._options, self._database, self._schema, self._view = options, database, schema, view
        options.output.parent.mkdir(parents=True, exist_ok=True)
        self._files = RunDirectory(options.output.parent)
        self._saved = read_records(options.output, MadePair)
        self._check_same_database()
        self._waiting: list[MadePair] = []
        self._verifier = Verifier(database, schema.text)
        for row in self._saved:
            self._verifier.remember(row.question, row.answer, row.digest)
        self._rejected: Counter[str] = Counter()
        self._draft_count, self._new_count, self._seconds = 0, 0, 0.0
        self._is_exhausted = False

    def run(self) -> None:
        """Makes the missing pairs."""
        options, started = self._options, time.monotonic()
        shapes_count = options.count if options.teacher is None else (options.count + 1) // 2
        try:
            with progress_bar("Making pairs", options.count, len(self._saved)) as bar:
                drafts_before = self._draft_count
                for row in self._pairs_by_shapes(shapes_count):
                    self._keep(row)
                    bar.advance(1, 0, drafts=str(self._draft_count - drafts_before))
                for row in self._pairs_by_teacher():
                    self._keep(row)
                    bar.advance(1, 0, drafts=str(self._draft_count - drafts_before))
        finally:
            self._save()
            self._seconds = time.monotonic() - started

    def report(self) -> None:
        """Prints what was made, what was rejected and why, and how to train on it."""
        options = self._options
        reasons = ", ".join(f"{count} {reason}" for reason, count in self._rejected.most_common()) or "none"
        # A rate from a few pairs would be misleading.
        shows_rate = self._new_count >= _MIN_PAIRS_FOR_RATE and self._seconds
        rate = f", {3600 * self._new_count / self._seconds:,.0f} an hour" if shows_rate else ""
        console.print(
            f"{options.output}: {len(self._saved)} pairs, {self._new_count} of them new{rate}. Rejected: {reasons}."
        )
        if self._is_exhausted:
            console.print(
                f"The shapes have given what they have for this schema: {_MAX_REJECTED_IN_A_ROW:,} drafts in a row "
                "brought nothing new. More tables, more rows, or a teacher (--model) bring more."
            )
        dialect = self._database.location.dialect
        overrides = "" if dialect == "sqlite" else f" data.dialect={dialect}"
        # The quickstart's test size may be larger than the number of pairs.
        if len(self._saved) < _ENOUGH_FOR_QUICKSTART:
            overrides += f" data.test_size={max(1, len(self._saved) // 5)}"
        console.print(f"Train on them: text2sql run quickstart data.source={options.output}{overrides}", soft_wrap=True)

    def _check_same_database(self) -> None:
        location, dialect = self._options.location.display_name, self._options.location.dialect
        for row in self._saved:
            if (row.db_id, row.dialect) != (_database_name(self._options.location), dialect):
                raise UserError(
                    f"--output: {self._options.output} holds pairs of {row.db_id} in {row.dialect}, not of {location}; "
                    "name another file."
                )

    def _pairs_by_shapes(self, count: int) -> Iterator[MadePair]:
        """Makes pairs by shapes until there are `count`; each draft depends only on the seed and its number."""
        numbers = [int(row.id.rpartition("/")[2]) for row in self._saved if row.made_by == "shapes"]
        number = max(numbers, default=-1) + 1
        made, rejected_in_a_row = len(numbers), 0
        while made < count and rejected_in_a_row < _MAX_REJECTED_IN_A_ROW:
            draft = self._draft(number)
            row = self._verify(draft, f"made/{number}", "shapes") if draft else None
            number += 1
            rejected_in_a_row = 0 if row else rejected_in_a_row + 1
            if row:
                made += 1
                yield row
        self._is_exhausted = rejected_in_a_row >= _MAX_REJECTED_IN_A_ROW

    def _pairs_by_teacher(self) -> Iterator[MadePair]:
        """Makes pairs by the teacher, if there is one, until there are as many as asked for in all."""
        options = self._options
        if options.teacher is None:
            return
        from text2sql.data.make.teacher import write_drafts

        drafts = write_drafts(options, self._database, self._schema, self._view, len(self._saved))
        while (pair_count := len(self._saved) + len(self._waiting)) < options.count:
            draft = next(drafts, None)
            if draft is None:
                return
            row = self._verify(draft, f"taught/{pair_count}", options.teacher.model)
            if row is not None:
                yield row

    def _draft(self, number: int) -> Draft | None:
        rng = Random(f"make/{self._options.seed}/{number}")
        shape = rng.choices(SHAPES, [shape.weight for shape in SHAPES])[0]
        return shape.make(rng, self._view)

    def _verify(self, draft: Draft, name: str, made_by: str) -> MadePair | None:
        """The verified draft as a pair; None if it is rejected."""
        self._draft_count += 1
        try:
            digest = self._verifier.verify(draft)
        except Rejected as error:
            self._rejected[str(error)] += 1
            return None
        location = self._options.location
        return MadePair(
            id=name,
            question=draft.question,
            context=self._context(draft),
            answer=draft.sql,
            db_id=_database_name(location),
            dialect=location.dialect,
            made_by=made_by,
            digest=digest,
            db=str(location.path) if location.dialect == "sqlite" else None,
        )

    def _context(self, draft: Draft) -> str:
        """The schema as `text2sql ask` would show it, with the tables of the query in any case."""
        needed = " ".join(tables_of(draft.sql, self._database.location.dialect))
        return cut_schema(self._schema.text, draft.question, self._options.max_tables, needed=needed.split()).text

    def _keep(self, row: MadePair) -> None:
        self._verifier.remember(row.question, row.answer, row.digest)
        self._waiting.append(row)
        if len(self._waiting) >= _CHUNK:
            self._save()

    def _save(self) -> None:
        if self._waiting:
            self._files.append(self._options.output.name, self._waiting)
            self._new_count += len(self._waiting)
            self._saved += self._waiting
            self._waiting = []


def _database_name(location: Location) -> str:
    """A database's name: a file's name without its suffix, or the last part of a server's URL."""
    return location.path.stem if location.path is not None else location.display_name.rpartition("/")[2]
