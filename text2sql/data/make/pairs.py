"""`text2sql data make`: pairs of question and SQL from a database, checked on it, as JSON Lines to train on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from random import Random

from text2sql.console import console, progress_bar
from text2sql.data.make.describe import describe
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
from text2sql.runs.record_files import read_records
from text2sql.runs.records import Record, optional

# Drafts in a row of which none is kept, after which a schema has given what it has.
_DRY = 3000
# Pairs that are saved together, and drafts between two looks at the progress bar.
_CHUNK = 20
# Pairs from which on a rate is shown, and those with which the quickstart's test leaves enough to train on.
_TIMED, _ENOUGH = 200, 240


class MadePair(Record):
    """A pair that was made and checked: a line of the output."""

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
    """Make pairs until there are as many as asked for, or the schema gives no more.

    Every pair is executed; it has rows, no two mean the same by verdict, and the question says every value of its
    query. A second start goes on where the first one stopped, to the same file.

    Raises:
        UserError: The database cannot be read, has nothing to ask about, or the file holds other pairs.
    """
    if options.teacher is not None:
        from text2sql.data.make.teacher import check_teacher

        check_teacher(options.teacher)
    with open_database(options.location, allow_writable_role=options.allow_writable_role) as database:
        schema = read_schema(database)
        view = describe(database, schema)
        if not view.domain.tables:
            raise UserError(
                f"--database: {options.location.shown} has no table with rows that could be asked about; fill some, or "
                "give another database."
            )
        maker = _Maker(options, database, schema, view)
        maker.run()
        maker.report()


class _Maker:
    """One start: what is kept already, and what comes to it."""

    def __init__(self, options: MakeOptions, database: Database, schema: DatabaseSchema, view: View) -> None:
        self._options, self._database, self._schema, self._view = options, database, schema, view
        options.output.parent.mkdir(parents=True, exist_ok=True)
        self._files = RunDirectory(options.output.parent)
        self._kept = read_records(options.output, MadePair)
        self._check_same()
        self._waiting: list[MadePair] = []
        self._verifier = Verifier(database, schema.text)
        for row in self._kept:
            self._verifier.remember(row.question, row.answer, row.digest)
        self._rejected: Counter[str] = Counter()
        self._drafts, self._new, self._seconds = 0, 0, 0.0
        self._dry = False

    def run(self) -> None:
        """Make what is missing."""
        options, started = self._options, time.monotonic()
        by_shapes = options.count if options.teacher is None else (options.count + 1) // 2
        try:
            with progress_bar("Making pairs", options.count, len(self._kept)) as bar:
                before = self._drafts
                for row in self._by_shapes(by_shapes):
                    self._keep(row)
                    bar.advance(1, 0, drafts=str(self._drafts - before))
                for row in self._by_teacher():
                    self._keep(row)
                    bar.advance(1, 0, drafts=str(self._drafts - before))
        finally:
            self._save()
            self._seconds = time.monotonic() - started

    def report(self) -> None:
        """Say what was made, what was rejected and why, and how to train on it."""
        options = self._options
        about = ", ".join(f"{count} {reason}" for reason, count in self._rejected.most_common()) or "none"
        # A handful of pairs says nothing of an hour.
        timed = self._new >= _TIMED and self._seconds
        rate = f", {3600 * self._new / self._seconds:,.0f} an hour" if timed else ""
        console.print(f"{options.output}: {len(self._kept)} pairs, {self._new} of them new{rate}. Rejected: {about}.")
        if self._dry:
            console.print(
                f"The shapes have given what they have for this schema: {_DRY:,} drafts in a row brought nothing new. "
                "More tables, more rows, or a teacher (--model) bring more."
            )
        dialect = self._database.location.dialect
        asked = "" if dialect == "sqlite" else f" data.dialect={dialect}"
        # The quickstart holds out as many as a test needs, which may be more than there are.
        if len(self._kept) < _ENOUGH:
            asked += f" data.test_size={max(1, len(self._kept) // 5)}"
        console.print(f"Train on them: text2sql run quickstart data.source={options.output}{asked}", soft_wrap=True)

    def _check_same(self) -> None:
        place, dialect = self._options.location.shown, self._options.location.dialect
        for row in self._kept:
            if (row.db_id, row.dialect) != (_name(self._options.location), dialect):
                raise UserError(
                    f"--output: {self._options.output} holds pairs of {row.db_id} in {row.dialect}, not of {place}; "
                    "name another file."
                )

    def _by_shapes(self, count: int) -> Iterator[MadePair]:
        """Pairs by the shapes until there are N; each draft depends on the seed and its own number alone."""
        numbers = [int(row.id.rpartition("/")[2]) for row in self._kept if row.made_by == "shapes"]
        number = max(numbers, default=-1) + 1
        have, dry = len(numbers), 0
        while have < count and dry < _DRY:
            draft = self._draft(number)
            row = self._checked(draft, f"made/{number}", "shapes") if draft else None
            number += 1
            dry = 0 if row else dry + 1
            if row:
                have += 1
                yield row
        self._dry = dry >= _DRY

    def _by_teacher(self) -> Iterator[MadePair]:
        """Pairs by the teacher, if there is one, until there are as many as asked for in all."""
        options = self._options
        if options.teacher is None:
            return
        from text2sql.data.make.teacher import teach

        drafts = teach(options, self._database, self._schema, self._view, len(self._kept))
        while (have := len(self._kept) + len(self._waiting)) < options.count:
            draft = next(drafts, None)
            if draft is None:
                return
            row = self._checked(draft, f"taught/{have}", options.teacher.model)
            if row is not None:
                yield row

    def _draft(self, number: int) -> Draft | None:
        rng = Random(f"make/{self._options.seed}/{number}")
        shape = rng.choices(SHAPES, [shape.weight for shape in SHAPES])[0]
        return shape.make(rng, self._view)

    def _checked(self, draft: Draft, name: str, made_by: str) -> MadePair | None:
        """The draft as a row, if it proves right."""
        self._drafts += 1
        try:
            digest = self._verifier.prove(draft)
        except Rejected as error:
            self._rejected[str(error)] += 1
            return None
        location = self._options.location
        return MadePair(
            id=name,
            question=draft.question,
            context=self._context(draft),
            answer=draft.sql,
            db_id=_name(location),
            dialect=location.dialect,
            made_by=made_by,
            digest=digest,
            db=str(location.path) if location.dialect == "sqlite" else None,
        )

    def _context(self, draft: Draft) -> str:
        """The schema as `ask` would show it, and in any case the tables of the query."""
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
            self._new += len(self._waiting)
            self._kept += self._waiting
            self._waiting = []


def _name(location: Location) -> str:
    """A database's own name: of a file without its ending, on a server the last part of its place."""
    return location.path.stem if location.path is not None else location.shown.rpartition("/")[2]
