"""The reward as a group of the Tinker cookbook's environments, carried out by its own rollout function."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.rl_runs import judge_here
from text2sql.config import RewardConfig

pytest.importorskip("tinker_cookbook", reason="no extra installs tinker_cookbook; see scripts/check_cookbook.sh")

SCHEMA, GOLD = "CREATE TABLE t (a INTEGER, b TEXT)", "SELECT b FROM t WHERE a > 1"


def test_a_group_is_rolled_out_and_paid_by_the_cookbook(monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Any) -> None:
    from tinker_cookbook import renderers
    from tinker_cookbook.completers import TokenCompleter, TokensWithLogprobs
    from tinker_cookbook.rl.rollouts import do_group_rollout

    from text2sql.rewards.cookbook import VerdictGroup

    judge_here(monkeypatch)
    renderer = renderers.get_renderer("role_colon", tiny_tokenizer)
    texts = iter([GOLD, "SELECT b FROM t WHERE a >= 1", "SELECT c FROM t", "DROP TABLE t"])

    class Scripted(TokenCompleter):  # type: ignore[misc]
        async def __call__(self, model_input: Any, stop: Any, **options: Any) -> Any:
            text = next(texts) + stop[0]
            tokens = tiny_tokenizer.encode(text, add_special_tokens=False)
            return TokensWithLogprobs(tokens=tokens, maybe_logprobs=[0.0] * len(tokens))

    group = VerdictGroup(renderer, f"{SCHEMA}\nWhich b have a over 1?", SCHEMA, GOLD, size=4, table=RewardConfig())
    found = asyncio.run(do_group_rollout(group, Scripted()))
    assert found.get_total_rewards() == [1.0, 0.1, 0.0, -0.1]
    assert [list(metrics) for metrics in found.metrics_G] == [
        ["verdict/equivalent"],
        ["verdict/runs"],
        ["verdict/error"],
        ["verdict/refused"],
    ]
