"""The reward for other programs: as a plain function, and in TRL's GRPOTrainer, which is the oracle for our step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tinker import types

from backends.losses import CLIPS
from tests.support.rl_runs import brevity, judge_here
from text2sql.config import RewardConfig
from text2sql.config.rl import Advantage
from text2sql.rewards import VerdictReward, reward_answers
from text2sql.rl.advantages import group_advantages, policy_data
from text2sql.rl.answers import TrainedAnswer
from text2sql.rl.rewards import RewardedAnswer

SCHEMA, GOLD = "CREATE TABLE t (a INTEGER, b TEXT)", "SELECT b FROM t WHERE a > 1"
ANSWERS = ["SELECT b FROM t WHERE 1 < a", "SELECT b FROM t WHERE a >= 1", "SELECT c FROM t", "DROP TABLE t"]


def test_strings_in_numbers_and_reasons_out() -> None:
    rewards = reward_answers(ANSWERS, [GOLD] * 4, [SCHEMA] * 4)
    assert [(r.value, r.outcome) for r in rewards] == [
        (1.0, "equivalent"),
        (0.1, "runs"),
        (0.0, "error"),
        (-0.1, "refused"),
    ]
    assert all(reward.reason.endswith(".") for reward in rewards)
    cut = reward_answers(ANSWERS[:1], [GOLD], [SCHEMA], truncated=[True], table=RewardConfig(truncated=-1))
    assert [(r.value, r.outcome) for r in cut] == [(-1, "truncated")]
    with pytest.raises(ValueError, match="shorter"):
        reward_answers(ANSWERS, [GOLD], [SCHEMA] * 4)


def test_as_a_reward_function_of_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_here(monkeypatch)
    said: dict[str, float] = {}
    reward = VerdictReward(gold="answer", max_completion_length=5)
    paid = reward(
        prompts=["?"] * 4,
        completions=[ANSWERS[0], [{"role": "assistant", "content": ANSWERS[0]}], ANSWERS[1], "SELECT 1"],
        completion_ids=[[1], [1, 2], [1, 2, 3, 4, 5], [1]],
        answer=[GOLD, GOLD, GOLD, "SELECT nothing FROM nowhere"],
        schema=[SCHEMA] * 4,
        trainer_state=object(),
        log_metric=said.__setitem__,
    )
    assert paid == [1.0, 1.0, 0.0, None]
    assert said == {"verdict/equivalent": 0.5, "verdict/truncated": 0.25, "verdict/undecided": 0.25}
    with pytest.raises(KeyError, match="needs the column 'answer', and the data set has gold, schema"):
        reward(completions=ANSWERS, gold=[GOLD] * 4, schema=[SCHEMA] * 4)


def test_in_another_dialect_by_its_engine_or_translated() -> None:
    # In PostgreSQL and DuckDB ILIKE reads both cases; SQLite does not have it.
    columns = {"gold": ["SELECT b FROM t WHERE b ILIKE 'x%'"], "schema": [SCHEMA]}
    right = ["SELECT t.b FROM t WHERE LOWER(t.b) LIKE 'x%'"]
    assert VerdictReward()(completions=right, **columns) == [None]
    assert VerdictReward(dialect="duckdb")(completions=right, **columns) == [1.0]
    assert VerdictReward(dialect="postgres", transpile=True)(completions=right, **columns) == [1.0]


class Recorded:
    """What TRL's trainer made of each batch."""

    def __init__(self) -> None:
        self.inputs: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.rewards: list[list[float | None]] = []


RATE = 5e-3


def train(model: str, output: Path, reward: Any, **arguments: Any) -> Recorded:
    """GRPOTrainer on two questions with four answers each, with the adapter that ours begins with."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    seen = Recorded()

    class Recording(GRPOTrainer):  # type: ignore[misc]
        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            loss = super()._compute_loss(model, inputs)
            seen.inputs.append(dict(inputs))
            seen.losses.append(loss.item())
            return loss

    def recorded(**given: Any) -> list[float | None]:
        seen.rewards.append(reward(**given))
        return seen.rewards[-1]

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    torch.manual_seed(7)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(base, LoraConfig(r=4, lora_alpha=32, target_modules=modules, task_type="CAUSAL_LM"))
    rows = [{"prompt": f"Question {n}: SQL:", "gold": GOLD, "schema": SCHEMA} for n in range(2)]
    settings: dict[str, Any] = {
        "output_dir": str(output),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "adam_beta2": 0.95,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 0.0,
        "beta": 0.0,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 3,
    }
    trainer = Recording(
        model=adapted,
        reward_funcs=recorded,
        args=GRPOConfig(**{**settings, **arguments}),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    trainer.train()
    return seen


def test_grpo_trainer_runs_with_it(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of random weights is never right: what it writes is paid as an error, whatever it is."""
    pytest.importorskip("trl")
    judge_here(monkeypatch)
    seen = train(tiny_model, tmp_path, VerdictReward(RewardConfig(error=-0.5, databases=1)), max_steps=2)
    assert len(seen.rewards) == 2 and all(len(paid) == 8 for paid in seen.rewards)
    assert {value for paid in seen.rewards for value in paid} <= {-0.5, -0.1, 0.1, 1.0, None}


def by_length(**given: Any) -> list[float | None]:
    return [brevity(RewardedAnswer("", SCHEMA, GOLD, text)) * 10 for text in given["completions"]]


@pytest.mark.parametrize(
    ("scale", "kind", "theirs", "ours", "settings"),
    [
        ("none", "mean", {"loss_type": "dapo"}, "ppo", None),
        ("group", "std", {"loss_type": "dapo", "epsilon": 0.1, "epsilon_high": 0.3}, "ppo", (0.9, 1.3)),
        ("group", "std", {"loss_type": "cispo", "epsilon_high": 1.5}, "cispo", (0.0, 1.5)),
    ],
)
def test_advantages_and_losses_are_those_of_trl(
    open_local: Any,
    tiny_model: str,
    tmp_path: Path,
    scale: str,
    kind: Advantage,
    theirs: dict[str, Any],
    ours: str,
    settings: tuple[float, float] | None,
) -> None:
    """Five updates on one batch, so that from the second on ratios are not 1, and some of them are clipped."""
    pytest.importorskip("trl")
    seen = train(tiny_model, tmp_path, by_length, scale_rewards=scale, num_iterations=5, max_steps=5, **theirs)
    batch, (paid,) = seen.inputs[0], seen.rewards
    advantages = [value for start in (0, 4) for value in group_advantages(paid[start : start + 4], kind) or [0.0] * 4]
    # The trainer deals the answers out in another order than it asked for their rewards in.
    np.testing.assert_allclose(sorted(batch["advantages"].tolist()), sorted(map(float, advantages)), atol=1e-5)  # type: ignore[arg-type]
    answers = []
    for row, advantage in enumerate(batch["advantages"].tolist()):
        length = int(batch["completion_mask"][row].sum())
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist()
        tokens = batch["completion_ids"][row][:length].tolist()
        answers.append(
            TrainedAnswer(prompt, tokens, batch["old_per_token_logps"][row][:length].numpy(), None, advantage)
        )
    data = [made.datum for made in policy_data(answers, 0.0)]
    client = open_local().create_lora_training_client(tiny_model, rank=4, seed=7, train_unembed=False).result()
    clips = None if settings is None else dict(zip(CLIPS, settings, strict=True))
    losses = []
    for _ in seen.losses:
        losses.append(client.forward_backward(data, ours, clips).result().metrics["loss:sum"])
        client.optim_step(types.AdamParams(learning_rate=RATE, eps=1e-8)).result()
    assert len(losses) == 5 and losses == pytest.approx(seen.losses, rel=1e-3, abs=1e-5)
    # The updates did something.
    assert abs(losses[4] - losses[0]) > 0.01
