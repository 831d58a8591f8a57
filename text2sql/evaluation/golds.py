"""Examination of the gold queries before a run: which of them no answer can match, and which prove little.

Every gold query is compared with itself, by the evaluator and on the question's real database.
"""

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

# Kinds of fault, in the words of the messages.
FAILS = "SQLite cannot run it"
FAILS_IN_ENGINE = "the engine of its dialect cannot run it"
UNDECIDED = "undecided against itself"
STOPPED = "holds a text at which answers are cut"
TOO_LONG = "longer than an answer may be"
MADE_UP = "reads what its schema lacks"
FAILS_ON_FILE = "fails on its real database"
EMPTY = "empty result on its real database"
# All kinds, the worst first.
KINDS = (FAILS, FAILS_IN_ENGINE, UNDECIDED, STOPPED, TOO_LONG, MADE_UP, FAILS_ON_FILE, EMPTY)
# Kinds with which no answer equal to the gold query can be right. The other kinds are reported, and count as usual.
UNUSABLE = (FAILS, FAILS_IN_ENGINE, UNDECIDED, STOPPED, TOO_LONG)
# Kinds that do not depend on the machine or its load, and may be cached.
_DETERMINISTIC = (FAILS, MADE_UP, EMPTY)
# Version of the cached results: increase it when the same gold query has other faults.
FORMAT = 1
# Number of gold queries from which results are cached even without `evaluation.cache`, which is about answers.
CACHE_FROM = 100
_READ_AS = "sqlglot reads it as"
# Number of ids that a message lists for each kind.
_MAX_LISTED = 5


@dataclass(frozen=True)
class Gold:
    """A gold query with its schema.

    Attributes:
        id: The id of the question.
        schema: ``CREATE TABLE`` statements; empty where the schema is that of the database.
        sql: The query.
        database: A real database file of the question.
        dialect: SQL dialect of schema and query.
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
        id: The id of the question.
        kind: One of `KINDS`.
        reason: Details in a few words; may be empty.
    """

    id: str
    kind: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.id} ({self.reason})" if self.reason else self.id


# Kinds of fault, each with a reason.
Kinds = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Examined:
    """The result of `examine`: the kinds of a gold query's faults, each with a reason."""

    kinds: tuple[tuple[str, str], ...]


Examine = Callable[[PairTask], Examined]


def examine_golds(
    golds: Sequence[Gold],
    settings: EvaluationConfig,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
    work: Examine | None = None,
) -> list[GoldFault]:
    """Compare every gold query with itself, in worker processes, and run it on its real database.

    Args:
        golds: The gold queries.
        settings: The settings `workers`, `databases`, `timeout`, `transpile` and `cache` are used.
        seed: Seed of the generated databases.
        advance: Called with the number of queries examined since the last call.
        work: What to examine: `examine` by default, or `examine_running` where only execution matters.

    Returns:
        The faults, in the order of the golds; a query that does not run has no other fault.
    """
    # Equal queries are examined once.
    indices: dict[Gold, list[int]] = {}
    for index, gold in enumerate(golds):
        indices.setdefault(replace(gold, id=""), []).append(index)
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
        for gold in indices
    ]
    groups = list(indices.values())
    faults: dict[int, list[GoldFault]] = {}
    for task_index, kinds in _run_examinations(tasks, settings, work or examine):
        for index in groups[task_index]:
            faults[index] = [GoldFault(golds[index].id, kind, reason) for kind, reason in kinds]
        advance(len(groups[task_index]))
    return [fault for index in sorted(faults) for fault in faults[index]]


def _run_examinations(
    tasks: Sequence[PairTask], settings: EvaluationConfig, work: Examine
) -> Iterator[tuple[int, Kinds]]:
    """The index of each task with its kinds of fault, from the cache where an earlier run has examined it."""
    with ExitStack() as stack:
        caching = settings.cache or len(tasks) >= CACHE_FROM
        cache = stack.enter_context(closing(VerdictCache(cache_directory("verdicts")))) if caching else None
        keys = [cache.key({work.__name__: FORMAT, **asdict(task)}) for task in tasks] if cache else []
        remaining = []
        for index in range(len(tasks)):
            kinds: Kinds | None = cache.get_json(keys[index]) if cache else None
            if kinds is None:
                remaining.append(index)
            else:
                yield index, kinds
        # The comparison has its own time limit, and the query then runs once more on the real database.
        seconds = 2 * settings.timeout
        chosen = [tasks[index] for index in remaining]
        engines = engines_of(chosen)
        engine_versions(engines)
        done = run_tasks(work, chosen, workers=settings.workers, seconds=seconds, engines=engines) if chosen else ()
        for i, result in done:
            kinds = ((UNDECIDED, result.reason),) if isinstance(result, Lost) else result.kinds
            # A fault that may come from a time limit is examined again the next time.
            if cache and all(kind in _DETERMINISTIC for kind, _ in kinds):
                cache.put_json(keys[remaining[i]], kinds)
            yield remaining[i], kinds


def examine(task: PairTask) -> Examined:
    """Run in a worker process: compare a gold query with itself, and run it on its real database."""
    if task.dialect != "sqlite":
        return _examine_in_engine(task)
    gold = _prepare(task)
    if isinstance(gold, Examined):
        return gold
    kinds = [(MADE_UP, ", ".join(gold.added_columns))] if gold.added_columns else []
    verdict = match_task(task)
    if verdict.status != "equivalent":
        kinds.append((UNDECIDED, verdict.reason))
    elif verdict.unused_database:
        kinds.append((FAILS_ON_FILE, verdict.unused_database))
    elif task.database and not _returns_values(gold.sql, task.database, task.timeout):
        kinds.append((EMPTY, ""))
    return Examined(tuple(kinds))


def examine_running(task: PairTask) -> Examined:
    """Run in a worker process: check only that a gold query runs, without comparing results."""
    if task.dialect != "sqlite":
        return _examine_in_engine(task)
    gold = _prepare(task)
    return gold if isinstance(gold, Examined) else Examined(())


class _PreparedGold(NamedTuple):
    """A gold query that runs in SQLite, and the columns that its schema lacks and that were added for it."""

    sql: str
    added_columns: Sequence[str]


def _prepare(task: PairTask) -> _PreparedGold | Examined:
    """Prepare a gold query for SQLite; the fault where it does not run."""
    with closing(SqlitePreparation(task.schema, task.gold, task.gold, task.seed, task.database)) as preparation:
        try:
            gold = preparation.prepare_gold()
        except GoldFails as failure:
            return Examined(((FAILS, f"{failure}; {_other_dialects(task.gold)}"),))
        return _PreparedGold(gold.sql, preparation.notes.made_up)


def _examine_in_engine(task: PairTask) -> Examined:
    verdict = match_task(task)
    if verdict.status == "equivalent":
        return Examined(())
    if verdict.cause == "gold_failed":
        return Examined(((FAILS_IN_ENGINE, f"{verdict.reason} ({verdict.judged_on})"),))
    return Examined(((UNDECIDED, verdict.reason),))


def _other_dialects(sql: str) -> str:
    """Which dialects sqlglot parses a query in, in words."""
    dialects = reading_dialects(sql)
    return f"{_READ_AS} {', '.join(dialects)}" if dialects else "sqlglot reads it in no other dialect either"


def _returns_values(sql: str, path: str, seconds: float) -> bool:
    """Whether a query returns on a real database a row that is not all NULL."""
    with closing(SqliteSandbox.from_file(path)) as sandbox:
        sandbox.allow_json_tables()
        rows = sandbox.run(sql, ON_FILE_STEPS, seconds, ON_FILE_ROWS).rows
    return any(value is not None for row in rows for value in row)


def stopped_golds(answers: Mapping[str, str], stop: Sequence[str]) -> list[GoldFault]:
    """The golds that contain a stop string, at which answers are cut.

    Args:
        answers: By id the text that a model would have to write.
        stop: The stop strings.
    """
    return [
        GoldFault(id_, STOPPED, f"evaluation.stop: {text!r}")
        for id_, answer in answers.items()
        if (text := next((text for text in stop if text in answer.strip()), None)) is not None
    ]


def long_golds(lengths: Mapping[str, int], max_new_tokens: int) -> list[GoldFault]:
    """The golds that are longer than an answer may be.

    Args:
        lengths: By id the number of tokens that a model would have to write.
        max_new_tokens: The limit, `evaluation.max_new_tokens`.
    """
    return [
        GoldFault(id_, TOO_LONG, f"{length} tokens, evaluation.max_new_tokens={max_new_tokens}")
        for id_, length in lengths.items()
        if length > max_new_tokens
    ]


def count_faults(faults: Sequence[GoldFault]) -> dict[str, int]:
    """Number of golds with each kind of fault, the worst kind first."""
    counts = Counter(fault.kind for fault in faults)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def describe_faults(faults: Sequence[GoldFault], golds: int, max_listed: int | None = _MAX_LISTED) -> list[str]:
    """A sentence for each kind of fault: how many golds have it, and which.

    Args:
        faults: The faults.
        golds: Number of gold queries.
        max_listed: How many golds of each kind to list, None for all.
    """
    sentences = []
    for kind, count in count_faults(faults).items():
        rows = [str(fault) for fault in faults if fault.kind == kind]
        is_cut = max_listed is not None and len(rows) > max_listed
        listed = "; ".join(rows[:max_listed]) + ("; ..." if is_cut else "")
        consequence = "No answer like them can be right" if kind in UNUSABLE else "They count all the same"
        sentences.append(f"Gold queries, {kind}: {count} of {golds}. {consequence}. {listed}")
    return sentences


def check_golds(faults: Sequence[GoldFault], golds: int, max_unusable: float) -> None:
    """Raise UserError if more than a share of the gold queries are unusable.

    Args:
        faults: The faults.
        golds: Number of gold queries.
        max_unusable: The share, `evaluation.max_unusable_golds`.
    """
    unusable = [fault for fault in faults if fault.kind in UNUSABLE]
    count = len({fault.id for fault in unusable})
    if count > max_unusable * golds:
        sentences = "\n".join(f"  {sentence}" for sentence in describe_faults(unusable, golds, 3))
        has_long = any(fault.kind == TOO_LONG for fault in unusable)
        advice = "Raise evaluation.max_new_tokens for those that are longer, correct" if has_long else "Correct"
        raise UserError(
            f"Of {golds} gold queries, {count} ({percent(count / golds)}) are such that no answer like them can be "
            f"right, more than evaluation.max_unusable_golds={max_unusable:g}:\n{sentences}\n{advice} or drop these "
            f"rows, or raise evaluation.max_unusable_golds to go on and count them as wrong."
            f"{_suggest_dialect(unusable)}"
        )


def _suggest_dialect(faults: Sequence[GoldFault]) -> str:
    """The advice to set data.dialect, where most queries that SQLite cannot run parse in a supported dialect."""
    foreign = [fault.reason.rpartition(_READ_AS)[2].split(", ") for fault in faults if fault.kind == FAILS]
    reads = Counter(name.strip() for names in foreign for name in names if name.strip() in DIALECTS)
    likely = [name for name in DIALECTS if 2 * reads[name] > len(foreign)]
    return f" If they are of another dialect, say which: data.dialect={' or '.join(likely)}." if likely else ""
