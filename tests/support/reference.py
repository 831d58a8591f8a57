"""A plain float32 reference for training: one sequence at a time, all logits, PEFT and torch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tinker import types

from backends.local.model.load import untie

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]


class Reference:
    """LoRA by PEFT on a Hugging Face model in float32, trained the slow and obvious way: AdamW, norm clipped to 0.5.

    `lora` goes to PEFT's configuration, `optimizer` makes another optimiser than AdamW of the PEFT model.
    """

    def __init__(
        self,
        directory: str,
        rank: int,
        alpha: float,
        seed: int,
        optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
        **lora: Any,
    ) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        untie(model)
        modules = lora.pop("target_modules", MODULES)
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=modules, task_type="CAUSAL_LM", **lora)
        self.model = get_peft_model(model, config)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        plain = {"lr": 2e-3, "betas": (0.9, 0.95), "eps": 1e-12, "weight_decay": 0.1}
        self.adamw = optimizer(self.model) if optimizer else torch.optim.AdamW(self.parameters, **plain)

    def logprobs(self, datum: types.Datum) -> torch.Tensor:
        ids = torch.tensor([datum.model_input.to_ints()])
        logits = self.model(input_ids=ids).logits[0]
        targets = datum.loss_fn_inputs["target_tokens"].to_torch()
        return torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]

    def loss(self, data: list[types.Datum]) -> torch.Tensor:
        return sum(-(d.loss_fn_inputs["weights"].to_torch() * self.logprobs(d)).sum() for d in data)  # type: ignore

    def step(self, data: list[types.Datum]) -> tuple[float, float]:
        self.adamw.zero_grad()
        loss = self.loss(data)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 0.5)
        self.adamw.step()
        return loss.item(), norm.item()

    def state(self) -> dict[str, torch.Tensor]:
        return {n.replace(".default.", "."): p.detach() for n, p in self.model.named_parameters() if p.requires_grad}
