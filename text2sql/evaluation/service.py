"""The evaluator as a service: what a request for verdicts holds, and what it is answered with."""

from __future__ import annotations

import threading
from contextlib import closing

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.engines.sandbox.engine import EngineMissing
from text2sql.equivalence.scoring import Pair, score_pairs

MOST_EFFORT = 400


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PairRequest(_Part):
    """One pair.

    Attributes:
        schema_text: ``schema`` in JSON: ``CREATE TABLE`` statements.
        gold: The gold query.
        predicted: What the model wrote.
    """

    schema_text: str = Field(alias="schema")
    gold: str
    predicted: str


class VerdictRequest(_Part):
    """What is sent.

    Attributes:
        pairs: The pairs. There is no way to name a database: the server's files are nobody's business.
        effort: Databases made per pair, see `execution_match`; null for the default.
        seed: Of the databases.
        dialect: Of schemas and queries; its engine, which the server must have, runs them.
    """

    pairs: list[PairRequest]
    effort: int | None = Field(None, ge=1, le=MOST_EFFORT)
    seed: int = 0
    dialect: Dialect = "sqlite"


class VerdictService:
    """Answers requests for verdicts, in worker processes that can be killed.

    Args:
        most: Pairs of one request.
        workers: Processes.
    """

    def __init__(self, most: int, workers: int) -> None:
        self._most, self._workers = most, workers

    def answer(self, body: bytes, stopped: threading.Event) -> JsonValue:
        """The verdicts of a request.

        Args:
            body: A `VerdictRequest` as JSON.
            stopped: Set when nobody waits for the answer any more.

        Returns:
            ``verdicts``: one for each pair in order, in the form of predictions; what is not judged yet when
            ``stopped`` is set is null.

        Raises:
            ValueError: The body is not such a request, has too many pairs, or is of a dialect without engine here.
        """
        try:
            wanted = VerdictRequest.model_validate_json(body)
        except ValidationError as error:
            raise ValueError(_explain(error)) from error
        if len(wanted.pairs) > self._most:
            raise ValueError(
                f"The request has {len(wanted.pairs)} pairs; this server takes {self._most}. Send several requests."
            )
        pairs = [Pair(pair.schema_text, pair.gold, pair.predicted, None, wanted.dialect) for pair in wanted.pairs]
        found: list[JsonValue] = [None] * len(pairs)
        try:
            with closing(score_pairs(pairs, workers=self._workers, effort=wanted.effort, seed=wanted.seed)) as verdicts:
                for index, verdict in verdicts:
                    found[index] = verdict.to_dict()
                    if stopped.is_set():
                        break
        except EngineMissing:
            # Why there is none is the operator's affair, and may name places that are not the client's to know.
            raise ValueError(
                f"dialect: this server has no {DISPLAY_NAMES[wanted.dialect]} to judge in. Send pairs of another "
                "dialect, or have whoever runs the server set one up."
            ) from None
        return {"verdicts": found}


def _explain(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()[:5])
