"""Worked answers from a teacher: step-by-step reasoning to the gold query, kept only where its own query proves right.

The teacher sees the gold query and is asked to derive it. What it writes is believed no further than it runs: the last
fenced query must return what the gold query returns, on the real database if there is one, else on every database that
the evaluator makes for the schema.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from text2sql import evaluation
from text2sql.chat_client import Answer, ChatClient, ChatFailure
from text2sql.config import Config, EndpointConfig
from text2sql.console import console, progress_bar
from text2sql.data.dataset import load_dataset
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.evaluation.match_options import match_options
from text2sql.formats import dollars
from text2sql.runs.directory import RunDirectory
from text2sql.runs.record_files import read_records
from text2sql.runs.records import Record, optional

# Questions asked, judged and saved together.
CHUNK = 64
PROMPT = """You are a text to SQL query translator. Based on the DB Schema and External Knowledge, given the Text \
Question Input and its Gold SQL Output below, generate the step-by-step reasoning to infer the Gold SQL Output from \
the Text Question Input.

-- DB Schema: {context}
-- External Knowledge: {evidence}
-- Text Question Input: {question}
-- Gold SQL Output: {answer}

Your response should be as follows:

Let me think through this step by step:

1. First, I need to consider...
2. Then...
3. Next...
...

Finally, the SQL statement for the text question is:
```sql ...```
"""
FENCED = re.compile(r"```[ \t]*(?:sql|sqlite)?\s*\S.*?```", re.DOTALL | re.IGNORECASE)


class WorkedAnswer(Record):
    """A worked answer: a line of the output or, with the reason why it was rejected, of the file next to it."""

    id: str
    question: str
    context: str
    answer: str
    db: str | None = optional()
    db_id: str | None = optional()
    evidence: str | None = optional()
    reasoning: str
    teacher: str
    reason: str | None = optional()


def make_reasoning(config: Config, teacher: EndpointConfig, output: Path, limit: int | None = None) -> None:
    """Ask for the reasoning of the training and validation examples, and write what proves right as JSON Lines.

    A second start asks for what is missing alone; answers are kept by the endpoint's client, so none is paid for twice.
    Rejected answers go into ``OUTPUT.rejected.jsonl`` with the reason.

    Args:
        config: Which data.
        teacher: Which model, and where.
        output: The file; data.source of a configuration with prompt.template=chat-reasoning.
        limit: Examples at most, in the order of the split.

    Raises:
        UserError: The data or the endpoint cannot be used, the file is of other data, or the cost limit was reached;
            what was made is kept.
    """
    config = config.model_copy(update={"prompt": config.prompt.model_copy(update={"template": "chat-bird"})})
    split = load_dataset(config).split
    examples = [*split.train, *split.validation][:limit]
    files = RunDirectory(output.parent)
    names = output.name, f"{output.stem}.rejected.jsonl"
    kept, rejected = (read_records(files.file(name), WorkedAnswer) for name in names)
    _check_same(output, [*kept, *rejected], examples, teacher)
    done = {row.id for row in (*kept, *rejected)}
    waiting = [example for example in examples if example.id not in done]
    client = ChatClient(teacher)
    output.parent.mkdir(parents=True, exist_ok=True)
    unanswered: Counter[str] = Counter()
    with progress_bar("Reasoning", len(examples), len(examples) - len(waiting)) as bar:
        right = len(kept)
        for start in range(0, len(waiting), CHUNK):
            chunk = waiting[start : start + CHUNK]
            answers = client.complete_all([_conversation(example) for example in chunk])
            proved, refused = _judged(chunk, answers, config, teacher)
            for name, rows in zip(names, (proved, refused), strict=True):
                if rows:
                    files.append(name, rows)
            right += len(proved)
            failed = [answer for answer in answers if isinstance(answer, ChatFailure)]
            unanswered.update(answer.kind for answer in failed)
            bar.advance(len(chunk) - len(failed), 0, kept=str(right), spent=dollars(client.spent))
            if any(answer.kind == "cost" for answer in failed):
                raise UserError(
                    f"max_cost: {dollars(client.spent)} of ${teacher.max_cost:g} are spent and {right} answers kept in "
                    f"{output}; the same command with a larger max_cost goes on from there."
                )
    _report(output, files, names, client, unanswered)


def _conversation(example: Example) -> list[dict[str, str]]:
    text = PROMPT.format(
        context=example.context if example.shown is None else example.shown,
        evidence=example.evidence or "none",
        question=example.question,
        answer=example.answer,
    )
    return [{"role": "user", "content": text}]


def _check_same(
    output: Path, rows: Sequence[WorkedAnswer], examples: Sequence[Example], teacher: EndpointConfig
) -> None:
    """Raise UserError where a file that is there was made of other examples or by another teacher."""
    questions = {example.id: example.question for example in examples}
    for row in rows:
        if row.teacher != teacher.model:
            raise UserError(f"{output} is {row.teacher}'s; for {teacher.model} name another --output.")
        if questions.get(row.id, row.question) != row.question:
            raise UserError(f'{output} was made of other data ("{row.id}" differs); name another --output.')


def _judged(
    examples: Sequence[Example], answers: Sequence[Answer], config: Config, teacher: EndpointConfig
) -> tuple[list[WorkedAnswer], list[WorkedAnswer]]:
    """Rows of the answers whose query is right, and of the others with the reason; none of what was not answered."""
    answered = [(e, a) for e, a in zip(examples, answers, strict=True) if not isinstance(a, ChatFailure)]
    reasons: dict[int, str] = {}
    pairs, places = [], []
    for place, (example, answer) in enumerate(answered):
        if answer.finish_reason == "length":
            reasons[place] = "cut off at max_tokens"
        elif not FENCED.search(answer.text):
            reasons[place] = "no fenced query"
        else:
            pairs.append(evaluation.Pair(example.context, example.answer, answer.text, example.db, example.dialect))
            places.append(place)
    for index, verdict in evaluation.score_pairs(pairs, **match_options(config)):
        if not verdict.correct:
            reasons[places[index]] = f"{verdict.status}: {verdict.reason}"
    kept: list[WorkedAnswer] = []
    rejected: list[WorkedAnswer] = []
    for place, (example, answer) in enumerate(answered):
        row = _worked(example, answer.text.strip(), teacher, reasons.get(place))
        (rejected if place in reasons else kept).append(row)
    return kept, rejected


def _worked(example: Example, reasoning: str, teacher: EndpointConfig, reason: str | None) -> WorkedAnswer:
    return WorkedAnswer(
        id=example.id,
        question=example.question,
        context=example.context if example.shown is None else example.shown,
        answer=example.answer,
        db=example.db,
        db_id=example.db_id,
        evidence=example.evidence,
        reasoning=reasoning,
        teacher=teacher.model,
        reason=reason,
    )


def _report(
    output: Path, files: RunDirectory, names: tuple[str, str], client: ChatClient, unanswered: Counter[str]
) -> None:
    kept, rejected = (read_records(files.file(name), WorkedAnswer) for name in names)
    reasons = Counter(str(row.reason).partition(":")[0] for row in rejected)
    about = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "none"
    console.print(f"{output}: {len(kept)} answers kept. Rejected: {about} ({names[1]}).")
    console.print(
        f"{client.requests} requests now, {client.cached} answers from earlier ones; {client.prompt_tokens:,} tokens "
        f"read, {client.completion_tokens:,} written, {dollars(client.spent)} spent."
    )
    if unanswered:
        failures = ", ".join(f"{count} {kind}" for kind, count in unanswered.items())
        console.print(f"Without an answer: {failures}; the same command asks them again.")
