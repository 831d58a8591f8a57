"""Gold queries are data, too: which of them no answer can equal, or prove little, found before anything is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from backends.paths import cache_directory
from text2sql.config import EvaluationConfig
from text2sql.engines.dialect import DIALECTS, Dialect
from text2sql.engines.sandbox.engine import engine_versions
from text2sql.equivalence.pair import GoldFails
from text2sql.equivalence.processes.process_pool import Lost, run_tasks
from text2sql.equivalence.real_database import ON_FILE_ROWS, ON_FILE_STEPS
from text2sql.equivalence.scoring import PairTask, engines_of, match_task
from text2sql.equivalence.sqlite_pair import SqlitePreparation
from text2sql.equivalence.verdict_cache import VerdictCache
from text2sql.errors import UserError
from text2sql.formats import percent
from text2sql.sql.foreign_dialects import reading_dialects
from text2sql.sql.sandbox import SqliteSandbox

# What is wrong with a gold query, in the words of the tables, the worst first.
FAILS = "SQLite cannot run it"
FAILS_IN_ENGINE = "the engine of its dialect cannot run it"
UNDECIDED = "undecided against itself"
STOPPED = "holds a text at which answers are cut"
TOO_LONG = "longer than an answer may be"
MADE_UP = "reads what its schema lacks"
FAILS_ON_FILE = "fails on its real database"
EMPTY = "empty result on its real database"
KINDS = (FAILS, FAILS_IN_ENGINE, UNDECIDED, STOPPED, TOO_LONG, MADE_UP, FAILS_ON_FILE, EMPTY)
# No answer that is like such a query can be right. The others count as usual; what is odd about them is said.
UNUSABLE = (FAILS, FAILS_IN_ENGINE, UNDECIDED, STOPPED, TOO_LONG)
# Faults that a gold query has whatever the machine.
_LASTING = (FAILS, MADE_UP, EMPTY)
# Raise it when the same gold query has other faults.
FORMAT = 1
# Gold queries from which what was found is kept whatever `evaluation.cache` says, which is about answers.
CACHE_FROM = 100
_READ_AS = "sqlglot reads it as"
# Rows that a note names for each kind.
_NAMED = 5


@dataclass(frozen=True)
class Gold:
    """A gold query with what it is judged on.

    Attributes:
        id: Of the question.
        schema: ``CREATE TABLE`` statements; empty where those of the database count.
        sql: The query.
        database: A real database file of the question.
        dialect: Of schema and query.
    """

    id: str
    schema: str
    sql: str
    database: str | None = None
    dialect: Dialect = "sqlite"


@dataclass(frozen=True)
class GoldFault:
    """One thing that is wrong with one gold query.

    Attributes:
        id: Of the question.
        kind: One of `KINDS`.
        reason: More of it, in a few words; may be empty.
    """

    id: str
    kind: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.id} ({self.reason})" if self.reason else self.id


@dataclass(frozen=True)
class Examined:
    """What a worker answers of a gold query: the kinds of its faults, each with a reason."""

    kinds: tuple[tuple[str, str], ...]


Examine = Callable[[PairTask], Examined]


def examine_golds(
    golds: Sequence[Gold],
    settings: EvaluationConfig,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
    work: Examine | None = None,
) -> list[GoldFault]:
    """Judges every gold query against itself, in worker processes, and runs it on its real database.

    Args:
        golds: The gold queries.
        settings: `workers`, `databases`, `timeout` and `cache` count here.
        seed: Of the databases.
        advance: Called with the number of queries examined since the last call.
        work: What a worker does with each: `examine`, or `examine_running` where only that counts.

    Returns:
        What is wrong, in the order of the golds; a query that does not run has no other fault.
    """
    places: dict[Gold, list[int]] = {}
    for place, gold in enumerate(golds):
        places.setdefault(replace(gold, id=""), []).append(place)
    tasks = [
        PairTask(
            gold.schema,
            gold.sql,
            gold.sql,
            gold.database,
            gold.dialect,
            effort=settings.databases,
            seed=seed,
            timeout=settings.timeout,
            transpile=settings.transpile,
        )
        for gold in places
    ]
    groups = list(places.values())
    found: dict[int, list[GoldFault]] = {}
    for number, kinds in _examined(tasks, settings, work or examine):
        for place in groups[number]:
            found[place] = [GoldFault(golds[place].id, kind, reason) for kind, reason in kinds]
        advance(len(groups[number]))
    return [fault for place in sorted(found) for fault in found[place]]


# Kinds of fault, each with a reason.
Kinds = Sequence[tuple[str, str]]


def _examined(tasks: Sequence[PairTask], settings: EvaluationConfig, work: Examine) -> Iterator[tuple[int, Kinds]]:
    """The numbers of the tasks with the faults of each; what an earlier start has found is taken from the cache."""
    with ExitStack() as stack:
        caching = settings.cache or len(tasks) >= CACHE_FROM
        kept = stack.enter_context(closing(VerdictCache(cache_directory("verdicts")))) if caching else None
        keys = [kept.key({work.__name__: FORMAT, **asdict(task)}) for task in tasks] if kept else []
        left = []
        for number in range(len(tasks)):
            faults: Kinds | None = kept.get_json(keys[number]) if kept else None
            if faults is None:
                left.append(number)
            else:
                yield number, faults
        # The verdict has its own limit of time, and the result on a real database is fetched once more.
        seconds = 2 * settings.timeout
        chosen = [tasks[number] for number in left]
        engines = engines_of(chosen)
        engine_versions(engines)
        done = run_tasks(work, chosen, workers=settings.workers, seconds=seconds, engines=engines) if chosen else ()
        for place, answer in done:
            faults = ((UNDECIDED, answer.reason),) if isinstance(answer, Lost) else answer.kinds
            # What may depend on the time that was left is found anew.
            if kept and all(kind in _LASTING for kind, _ in faults):
                kept.put_json(keys[left[place]], faults)
            yield left[place], faults


def examine(task: PairTask) -> Examined:
    """What a worker does with a gold query, which is its own prediction."""
    if task.dialect != "sqlite":
        return _examine_in_engine(task)
    gold = _prepared(task)
    if isinstance(gold, Examined):
        return gold
    faults = [(MADE_UP, ", ".join(gold.added))] if gold.added else []
    verdict = match_task(task)
    if verdict.status != "equivalent":
        faults.append((UNDECIDED, verdict.reason))
    elif verdict.unused_database:
        faults.append((FAILS_ON_FILE, verdict.unused_database))
    elif task.database and not _returns_something(gold.sql, task.database, task.timeout):
        faults.append((EMPTY, ""))
    return Examined(tuple(faults))


def examine_running(task: PairTask) -> Examined:
    """What a worker does with a gold query of which only counts whether it runs: nothing is compared."""
    if task.dialect != "sqlite":
        return _examine_in_engine(task)
    gold = _prepared(task)
    return gold if isinstance(gold, Examined) else Examined(())


class _Prepared(NamedTuple):
    """A gold query that runs in SQLite, and the columns that were made up for it."""

    sql: str
    added: Sequence[str]


def _prepared(task: PairTask) -> _Prepared | Examined:
    """A gold query as SQLite takes it, or that it does not run."""
    with closing(SqlitePreparation(task.schema, task.gold, task.gold, task.seed, task.database)) as preparation:
        try:
            gold = preparation.prepare_gold()
        except GoldFails as failure:
            return Examined(((FAILS, f"{failure}; {_dialects(task.gold)}"),))
        return _Prepared(gold.sql, preparation.notes.made_up)


def _examine_in_engine(task: PairTask) -> Examined:
    verdict = match_task(task)
    if verdict.status == "equivalent":
        return Examined(())
    if verdict.cause == "gold_failed":
        return Examined(((FAILS_IN_ENGINE, f"{verdict.reason} ({verdict.judged_on})"),))
    return Examined(((UNDECIDED, verdict.reason),))


def _dialects(sql: str) -> str:
    found = reading_dialects(sql)
    return f"{_READ_AS} {', '.join(found)}" if found else "sqlglot reads it in no other dialect either"


def _returns_something(sql: str, path: str, seconds: float) -> bool:
    """Whether a query that runs on a real database returns a row there that is not all NULL."""
    with closing(SqliteSandbox.from_file(path)) as box:
        box.allow_json_tables()
        rows = box.run(sql, ON_FILE_STEPS, seconds, ON_FILE_ROWS).rows
    return any(value is not None for row in rows for value in row)


def stopped_golds(answers: Mapping[str, str], stop: Sequence[str]) -> list[GoldFault]:
    """The golds that hold a text at which answers are cut.

    Args:
        answers: By id what a model would have to write.
        stop: The texts.
    """
    return [
        GoldFault(name, STOPPED, f"evaluation.stop: {text!r}")
        for name, answer in answers.items()
        if (text := next((text for text in stop if text in answer.strip()), None)) is not None
    ]


def long_golds(lengths: Mapping[str, int], limit: int) -> list[GoldFault]:
    """The golds that are longer than an answer may be.

    Args:
        lengths: By id the tokens that a model would have to write.
        limit: `evaluation.max_new_tokens`.
    """
    return [
        GoldFault(name, TOO_LONG, f"{length} tokens, evaluation.max_new_tokens={limit}")
        for name, length in lengths.items()
        if length > limit
    ]


def count_faults(faults: Sequence[GoldFault]) -> dict[str, int]:
    """How many golds have each kind of fault, the worst kind first."""
    counts = Counter(fault.kind for fault in faults)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def describe_faults(faults: Sequence[GoldFault], golds: int, named: int | None = _NAMED) -> list[str]:
    """A sentence for each kind of fault: how many golds have it, and which.

    Args:
        faults: What was found.
        golds: How many gold queries there are.
        named: Rows to name of each kind, None for all.
    """
    sentences = []
    for kind, count in count_faults(faults).items():
        rows = [str(fault) for fault in faults if fault.kind == kind]
        shown = "; ".join(rows[:named]) + ("; ..." if named is not None and len(rows) > named else "")
        right = "No answer like them can be right" if kind in UNUSABLE else "They count all the same"
        sentences.append(f"Gold queries, {kind}: {count} of {golds}. {right}. {shown}")
    return sentences


def check_golds(faults: Sequence[GoldFault], golds: int, most: float) -> None:
    """Raises UserError where more than a share of the gold queries are unusable.

    Args:
        faults: What was found.
        golds: How many gold queries there are.
        most: The share, `evaluation.max_unusable_golds`.
    """
    unusable = [fault for fault in faults if fault.kind in UNUSABLE]
    lost = len({fault.id for fault in unusable})
    if lost > most * golds:
        first = "\n".join(f"  {sentence}" for sentence in describe_faults(unusable, golds, 3))
        longer = any(fault.kind == TOO_LONG for fault in unusable)
        more = "Raise evaluation.max_new_tokens for those that are longer, correct" if longer else "Correct"
        raise UserError(
            f"Of {golds} gold queries, {lost} ({percent(lost / golds)}) are such that no answer like them can be "
            f"right, more than evaluation.max_unusable_golds={most:g}:\n{first}\n{more} or drop these rows, or raise "
            f"evaluation.max_unusable_golds to go on and count them as wrong.{_other_dialects(unusable)}"
        )


def _other_dialects(faults: Sequence[GoldFault]) -> str:
    """What to try where most queries that SQLite cannot run are read in a dialect that can be judged."""
    foreign = [fault.reason.rpartition(_READ_AS)[2].split(", ") for fault in faults if fault.kind == FAILS]
    reads = Counter(name.strip() for names in foreign for name in names if name.strip() in DIALECTS)
    likely = [name for name in DIALECTS if 2 * reads[name] > len(foreign)]
    return f" If they are of another dialect, say which: data.dialect={' or '.join(likely)}." if likely else ""
