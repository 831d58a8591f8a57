"""The benchmarks' own metrics on real databases: Spider EX and test suite, BIRD EX, soft F1 and R-VES.

They are computed as the benchmarks' scripts define them, weak points included, so that the numbers compare with
published ones; `text2sql.equivalence.match` says what is wrong with them. Only where a definition leaves the behaviour
open is more care taken: queries run in the sandbox with a time limit, and the search over column orders is bounded.

- ``spider_ex``: the result comparison of the test-suite script (R. Zhong, T. Yu and D. Klein, EMNLP 2020) on the
  question's one database: DISTINCT is removed from both queries (unless it is to be kept), columns may be permuted, row
  order counts if the gold query holds "order by" anywhere, two empty results are equal.
- ``spider_test_suite``: the same on every database of the question's directory, where there are several.
- ``bird_ex``: the results are equal as sets of rows (J. Li et al., NeurIPS 2023).
- ``bird_soft_f1``: BIRD Mini-Dev's F1 of cells, row by row after removing duplicates.
- ``bird_rves``: BIRD Mini-Dev's reward for speed: bands of the ratio of run times, 0 for a wrong result.
"""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from text2sql.equivalence.processes.process_pool import Lost, Workers, run_tasks
from text2sql.runs.evaluation_summary import BenchmarkSummary, MetricValue
from text2sql.runs.records import BenchmarkScore
from text2sql.sql.extract import read_answer
from text2sql.sql.repair import strip_semicolon
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox
from text2sql.sql.tokens import tokenize
from text2sql.sql.values import Row

METRICS = ("spider_ex", "spider_test_suite", "bird_ex", "bird_soft_f1", "bird_rves")
# Seconds for one query, as in BIRD's scripts.
QUERY_TIMEOUT = 30.0
# Timings of each query for R-VES, as in BIRD's script.
REPEATS = 100
# R-VES: lower bound of the ratio of run times, and the reward from there on.
_RVES_BANDS = ((2.0, 1.25), (1.0, 1.0), (0.5, 0.75), (0.25, 0.5))
# R-VES: the reward of a correct query below the last band.
_RVES_MIN_REWARD = 0.25
# Limits of one result.
_MAX_ROWS = 1_000_000
_MAX_BYTES = 256 * 2**20
# Instructions of SQLite's virtual machine for one query: in effect the time limit alone counts, as in the scripts.
_MAX_STEPS = 10**12
# Partial assignments of columns tried before a comparison is given up.
_MAX_ASSIGNMENTS = 20_000
# Bytes by which a worker may grow: whole results of real databases are compared.
_WORKER_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class BenchmarkTask:
    """A `BenchmarkQuestion` with the options of `score_benchmarks`, as a worker process receives it."""

    gold: str
    predicted: str
    databases: tuple[str, ...]
    timeout: float
    rves: bool
    keep_distinct: bool


@dataclass(frozen=True)
class BenchmarkResult:
    """The fields of a `BenchmarkScore`, as a worker process returns them."""

    fields: dict[str, Any]


class BenchmarkQuestion(NamedTuple):
    """A gold query, a raw prediction, and the database files that they run on; the first is the question's own."""

    gold: str
    predicted: str
    databases: tuple[str, ...]


def database_files(root: Path, db_id: str) -> tuple[str, ...]:
    """The database files of a question, by the layout of Spider and BIRD: ROOT/DB_ID/*.sqlite, DB_ID.sqlite first.

    Returns:
        The files; empty if there are none, or only empty ones.
    """
    folder = root / db_id
    files = sorted(folder.glob("*.sqlite"), key=lambda file: (file.stem != db_id, file.name))
    return tuple(str(file) for file in files if file.stat().st_size)


def score_benchmarks(
    questions: Sequence[BenchmarkQuestion],
    *,
    workers: Workers = 1,
    timeout: float = QUERY_TIMEOUT,
    rves: bool = False,
    keep_distinct: bool = False,
) -> Iterator[tuple[int, BenchmarkScore]]:
    """Score predictions as the benchmarks do, in processes that can be killed.

    Args:
        questions: The questions, each with one database file or more.
        workers: Number of processes; with ``rves`` there is one, because others would disturb the timings.
        timeout: Seconds for one query.
        rves: Also measure ``bird_rves``, which runs both queries up to 100 times.
        keep_distinct: Leave DISTINCT in the queries for Spider's metrics.

    Yields:
        The index of a question and its score, in the order in which they are finished.
    """
    tasks = [BenchmarkTask(*question, timeout, rves, keep_distinct) for question in questions]
    max_databases = max((len(question.databases) for question in questions), default=1)
    seconds = timeout * (3 + 2 * max_databases + 2 * rves)
    if not tasks:
        return
    workers = 1 if rves else workers
    for index, result in run_tasks(score_question, tasks, workers=workers, seconds=seconds, memory=_WORKER_MEMORY):
        if isinstance(result, Lost):
            has_suite = len(questions[index].databases) > 1
            suite = False if has_suite else None
            yield index, _failed_score(result.reason, spider_ex=False, spider_test_suite=suite, rves=rves)
        else:
            yield index, BenchmarkScore(**result.fields)


def _failed_score(failure: str, *, spider_ex: bool, spider_test_suite: bool | None, rves: bool) -> BenchmarkScore:
    """The score of a prediction that gave no result on the question's own database."""
    return BenchmarkScore(
        spider_ex=spider_ex,
        spider_test_suite=spider_test_suite,
        bird_ex=False,
        bird_soft_f1=0.0,
        bird_rves=0.0 if rves else None,
        failure=failure,
    )


def score_question(task: BenchmarkTask) -> BenchmarkResult:
    """Run in a worker process: score one question of `score_benchmarks`."""
    question = BenchmarkQuestion(task.gold, task.predicted, task.databases)
    return BenchmarkResult(_Scorer(question, task.timeout).score(task.rves, task.keep_distinct).to_json())


class _Scorer:
    """Scores one question; each query runs at most once on each database."""

    def __init__(self, question: BenchmarkQuestion, timeout: float) -> None:
        answer = read_answer(question.predicted)
        # An answer that writes is run with its writing statements, so that the sandbox refuses it.
        self._gold, self._predicted = strip_semicolon(question.gold), answer.writes or answer.sql
        self._databases, self._timeout = question.databases, timeout
        self._results: dict[tuple[str, str], list[Row] | QueryFailed] = {}

    def score(self, rves: bool, keep_distinct: bool) -> BenchmarkScore:
        database, has_suite = self._databases[0], len(self._databases) > 1
        try:
            gold = self._rows(database, self._gold)
            spider = self._spider([database], keep_distinct)
            suite = self._spider(self._databases, keep_distinct) if has_suite else None
        except QueryFailed as failure:
            return BenchmarkScore(gold_failure=str(failure))
        try:
            predicted = self._rows(database, self._predicted)
        except QueryFailed as failure:
            return _failed_score(str(failure), spider_ex=spider, spider_test_suite=suite, rves=rves)
        equal = set(predicted) == set(gold)
        ratio = self._time_ratio(database) if rves and equal else None
        reward = (rves_reward(ratio) if ratio else 0.0) if rves else None
        return BenchmarkScore(
            spider_ex=spider,
            spider_test_suite=suite,
            bird_ex=equal,
            bird_soft_f1=soft_f1(predicted, gold),
            bird_rves=reward,
            time_ratio=ratio,
        )

    def _spider(self, databases: Sequence[str], keep_distinct: bool) -> bool:
        """Whether Spider's comparison accepts the prediction on all of these databases."""
        gold, predicted = (_rewrite_for_spider(sql, keep_distinct) for sql in (self._gold, self._predicted))
        ordered = "order by" in gold.lower()
        for database in databases:
            expected = self._rows(database, gold)
            try:
                if not spider_results_match(expected, self._rows(database, predicted), ordered):
                    return False
            except QueryFailed:
                return False
        return True

    def _rows(self, database: str, sql: str) -> list[Row]:
        """The rows of a query, remembered from its first execution.

        Raises:
            QueryFailed: The query gave no result.
        """
        key = database, sql
        if key not in self._results:
            try:
                self._results[key] = self._run(database, sql)
            except QueryFailed as failure:
                self._results[key] = failure
        result = self._results[key]
        if isinstance(result, QueryFailed):
            raise result
        return result

    def _run(self, database: str, sql: str) -> list[Row]:
        if not sql:
            raise QueryFailed("error", "there is no SQL query")
        try:
            with closing(SqliteSandbox.from_file(database)) as box:
                result = box.run(sql, _MAX_STEPS, self._timeout, _MAX_ROWS, _MAX_BYTES)
        except sqlite3.Error as error:
            raise QueryFailed("error", f"{database} cannot be opened: {error}") from None
        if result.overflow:
            raise QueryFailed("timeout", f"it returns more than {_MAX_ROWS:,} rows or {_MAX_BYTES:,} bytes")
        return result.rows

    def _time_ratio(self, database: str) -> float | None:
        """Mean ratio of run times, gold by prediction, without outliers; None if a query fails.

        The queries alternate, and alternate in going first. Each runs on its own connection, as in BIRD's script. The
        timings end when together they have taken the time limit of one query.
        """
        ratios: list[float] = []
        deadline = time.monotonic() + self._timeout
        while len(ratios) < REPEATS and (len(ratios) < 3 or time.monotonic() < deadline):
            try:
                if len(ratios) % 2:
                    gold, predicted = self._seconds(database, self._gold), self._seconds(database, self._predicted)
                else:
                    predicted, gold = self._seconds(database, self._predicted), self._seconds(database, self._gold)
            except QueryFailed:
                return None
            ratios.append(gold / predicted)
        return fmean(without_outliers(ratios))

    def _seconds(self, database: str, sql: str) -> float:
        with closing(SqliteSandbox.from_file(database)) as box:
            start = time.perf_counter()
            box.run(sql, _MAX_STEPS, self._timeout, _MAX_ROWS, _MAX_BYTES)
            return max(time.perf_counter() - start, 1e-9)


def _rewrite_for_spider(sql: str, keep_distinct: bool) -> str:
    """A query as the test-suite script rewrites it before running it."""
    for spaced, operator in (("> =", ">="), ("< =", "<="), ("! =", "!=")):
        sql = sql.replace(spaced, operator)
    if not keep_distinct:
        for token in reversed(tokenize(sql)):
            if token.keyword == "DISTINCT":
                sql = sql[: token.start] + sql[token.end :]
    return re.sub(r"YEAR\s*\(\s*CURDATE\s*\(\s*\)\s*\)\s*", "2020", sql, flags=re.IGNORECASE)


def spider_results_match(gold: Sequence[Row], predicted: Sequence[Row], ordered: bool) -> bool:
    """Whether some permutation of the columns makes two results equal, as bags or, if ``ordered``, as lists."""
    if not gold and not predicted:
        return True
    if len(gold) != len(predicted) or len(gold[0]) != len(predicted[0]):
        return False
    # [columns][rows]
    left, right = list(zip(*gold, strict=True)), list(zip(*predicted, strict=True))
    if ordered:
        return Counter(left) == Counter(right)
    return _columns_permutable(left, right)


def _columns_permutable(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """Whether the columns of one result can be permuted so that the bags of rows of both are equal.

    Columns are assigned one after another by backtracking; a partial assignment must already give equal bags of partial
    rows. Columns that are equal row by row are tried once.

    Raises:
        QueryFailed: Too many columns have the same values.
    """
    bags = [Counter(column) for column in right]
    candidates = [[j for j, bag in enumerate(bags) if bag == Counter(column)] for column in left]
    order = sorted(range(len(left)), key=lambda i: len(candidates[i]))

    assignments = 0

    def assign(depth: int, chosen: list[int]) -> bool:
        nonlocal assignments
        assignments += 1
        if assignments > _MAX_ASSIGNMENTS:
            raise QueryFailed("timeout", "too many of its columns look alike")
        if chosen:
            partial_rows = Counter(zip(*(left[i] for i in order[:depth]), strict=True))
            if partial_rows != Counter(zip(*(right[j] for j in chosen), strict=True)):
                return False
        if depth == len(order):
            return True
        tried: set[Row] = set()
        for j in sorted(candidates[order[depth]], key=lambda j: j != order[depth]):
            if j not in chosen and right[j] not in tried:
                tried.add(right[j])
                if assign(depth + 1, [*chosen, j]):
                    return True
        return False

    return all(candidates) and assign(0, [])


def soft_f1(predicted: Sequence[Row], gold: Sequence[Row]) -> float:
    """BIRD's soft F1: rows without duplicates are paired by position, their cells compared by membership."""
    if not predicted and not gold:
        return 1.0
    predicted, gold = list(dict.fromkeys(predicted)), list(dict.fromkeys(gold))
    shared = only_predicted = only_gold = 0.0
    for predicted_row, gold_row in zip(predicted, gold, strict=False):
        width = len(gold_row)
        shared += sum(value in gold_row for value in predicted_row) / width
        only_predicted += sum(value not in gold_row for value in predicted_row) / width
        only_gold += sum(value not in predicted_row for value in gold_row) / width
    only_predicted += max(0, len(predicted) - len(gold))
    only_gold += max(0, len(gold) - len(predicted))
    precision = shared / (shared + only_predicted) if shared + only_predicted else 0.0
    recall = shared / (shared + only_gold) if shared + only_gold else 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def without_outliers(ratios: Sequence[float]) -> list[float]:
    """The ratios within three standard deviations of their mean; all of them where there is no spread."""
    mean, max_distance = fmean(ratios), 3 * pstdev(ratios)
    return [ratio for ratio in ratios if abs(ratio - mean) < max_distance] or list(ratios)


def rves_reward(ratio: float) -> float:
    """BIRD's reward for a right result: more for a query faster than the gold query, less for a slower one."""
    return next((reward for lower, reward in _RVES_BANDS if ratio >= lower), _RVES_MIN_REWARD)


def summarize_benchmarks(scores: Sequence[BenchmarkScore | None]) -> BenchmarkSummary:
    """Aggregate the benchmarks' metrics over a set of questions.

    Args:
        scores: One per question; None where the question has no database.

    Returns:
        Each metric with its ``value`` over ``n`` questions. The value is between 0 and 1, except that of ``bird_rves``,
        which is, as BIRD defines it, the mean of 100 times the square root of the reward.
    """
    present = [score for score in scores if score is not None]
    transforms: dict[str, Callable[[float], float]] = {"bird_rves": lambda reward: 100 * math.sqrt(reward)}
    summaries = {}
    for metric in METRICS:
        values = [value for score in present if (value := getattr(score, metric)) is not None]
        if values:
            summaries[metric] = MetricValue(value=fmean(map(transforms.get(metric, float), values)), n=len(values))
    return BenchmarkSummary(
        no_database=len(scores) - len(present),
        gold_failed=sum(score.gold_failure is not None for score in present),
        **summaries,
    )


__all__ = [
    "METRICS",
    "QUERY_TIMEOUT",
    "BenchmarkQuestion",
    "BenchmarkScore",
    "database_files",
    "score_benchmarks",
    "summarize_benchmarks",
]
