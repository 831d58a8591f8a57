"""The same data, adapter and optimiser through TRL's SFTTrainer: the same losses, step by step.

TRL averages the loss per completion token over the batch; so does this project, by its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tinker import types

from text2sql.data.datum import make_batch
from text2sql.data.prompts import Tokens

STEPS, BATCH, RATE = 6, 5, 3e-3


def random_tokens(count: int) -> list[Tokens]:
    rng = np.random.default_rng(4)
    return [
        Tokens(
            rng.integers(0, 600, rng.integers(3, 20)).astype(np.int32),
            rng.integers(0, 600, rng.integers(2, 12)).astype(np.int32),
        )
        for _ in range(count)
    ]


def trl_losses(tokens: list[Tokens], directory: str, output: Path) -> list[float]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    base = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    torch.manual_seed(7)
    modules = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
        # TRL takes no adapter on lm_head.
    ]
    config = LoraConfig(r=4, lora_alpha=32, target_modules=modules, task_type="CAUSAL_LM")
    rows = [
        {
            "input_ids": [*t.prompt.tolist(), *t.completion.tolist()],
            "completion_mask": [0] * len(t.prompt) + [1] * len(t.completion),
        }
        for t in tokens
    ]
    arguments = SFTConfig(
        output_dir=str(output),
        per_device_train_batch_size=BATCH,
        max_steps=STEPS,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        adam_epsilon=1e-8,
        max_grad_norm=0.0,
        completion_only_loss=True,
        train_sampling_strategy="sequential",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        logging_first_step=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=get_peft_model(base, config),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(directory),
    )
    trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def test_losses_follow_trl(open_local: Any, tiny_model: str, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    tokens = random_tokens(STEPS * BATCH)
    client = open_local().create_lora_training_client(tiny_model, rank=4, seed=7, train_unembed=False).result()
    ours = []
    for start in range(0, len(tokens), BATCH):
        data = make_batch(tokens[start : start + BATCH])
        ours.append(client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"])
        client.optim_step(types.AdamParams(learning_rate=RATE, eps=1e-8)).result()
    theirs = trl_losses(tokens, tiny_model, tmp_path)
    assert len(theirs) == STEPS
    assert ours == pytest.approx(theirs, rel=2e-4)
    # The steps did something.
    assert abs(ours[-1] - ours[0]) > 0.05
