"""The evaluator as a JSON service: requests with pairs of queries, answered with verdicts."""

from __future__ import annotations

import threading
from contextlib import closing

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.engines.sandbox.engine import EngineMissing
from text2sql.equivalence.scoring import Pair, score_pairs

# Largest number of databases that a request may ask for per pair.
MAX_EFFORT = 400


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PairRequest(_StrictModel):
    """One pair of queries.

    Attributes:
        schema_text: ``schema`` in JSON: ``CREATE TABLE`` statements.
        gold: The gold query.
        predicted: The raw text of the model's answer.
    """

    schema_text: str = Field(alias="schema")
    gold: str
    predicted: str


class VerdictRequest(_StrictModel):
    """The body of a request.

    Attributes:
        pairs: The pairs. A request cannot name a database, so that clients have no access to the server's files.
        effort: Number of databases generated per pair, see `execution_match`; null for the default.
        seed: Seed of the databases.
        dialect: SQL dialect of schemas and queries; the server must have its engine, which runs them.
    """

    pairs: list[PairRequest]
    effort: int | None = Field(None, ge=1, le=MAX_EFFORT)
    seed: int = 0
    dialect: Dialect = "sqlite"


class VerdictService:
    """Answers requests for verdicts, in worker processes that can be killed.

    Args:
        max_pairs: Largest number of pairs in one request.
        workers: Number of worker processes.
    """

    def __init__(self, max_pairs: int, workers: int) -> None:
        self._max_pairs, self._workers = max_pairs, workers

    def answer(self, body: bytes, stopped: threading.Event) -> JsonValue:
        """Compute the verdicts of a request.

        Args:
            body: A `VerdictRequest` as JSON.
            stopped: Set when the client no longer waits for the answer.

        Returns:
            ``verdicts``: one for each pair in order, in the JSON form that prediction files have; null for the pairs
            that are not finished when ``stopped`` is set.

        Raises:
            ValueError: The body is not such a request, has too many pairs, or needs an engine that is not there.
        """
        try:
            request = VerdictRequest.model_validate_json(body)
        except ValidationError as error:
            raise ValueError(_explain(error)) from error
        if len(request.pairs) > self._max_pairs:
            raise ValueError(
                f"The request has {len(request.pairs)} pairs; this server takes {self._max_pairs}. "
                "Send several requests."
            )
        pairs = [Pair(pair.schema_text, pair.gold, pair.predicted, None, request.dialect) for pair in request.pairs]
        results: list[JsonValue] = [None] * len(pairs)
        try:
            with closing(
                score_pairs(pairs, workers=self._workers, effort=request.effort, seed=request.seed)
            ) as verdicts:
                for index, verdict in verdicts:
                    results[index] = verdict.to_dict()
                    if stopped.is_set():
                        break
        except EngineMissing:
            # The engine's message may name hosts and paths, which clients must not see.
            raise ValueError(
                f"dialect: this server has no {DISPLAY_NAMES[request.dialect]} to judge in. Send pairs of another "
                "dialect, or have whoever runs the server set one up."
            ) from None
        return {"verdicts": results}


def _explain(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()[:5])
