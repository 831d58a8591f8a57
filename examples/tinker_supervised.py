"""Supervised fine-tuning with the Tinker SDK, on a page; text2sql gives the data alone.

    python examples/tinker_supervised.py Qwen/Qwen3.5-4B               # the hosted API
    python examples/tinker_supervised.py smollm2-135m-instruct         # `text2sql serve`, with TINKER_BASE_URL
    python examples/tinker_supervised.py smollm2-135m-instruct local   # in this process

The key is TINKER_API_KEY, in the environment or in a file .env.
"""

import sys

import numpy as np
import tinker
from dotenv import load_dotenv
from tinker import types

from backends import open_backend
from text2sql.data.sources.bundled import load_bundled

load_dotenv()
model, where, steps = [*sys.argv[1:], *("", "", "20")[len(sys.argv) - 1 :]]
service = open_backend("local") if where == "local" else tinker.ServiceClient()
trainer = service.create_lora_training_client(model, rank=16).result()
tokenizer = trainer.get_tokenizer()


def datum(example):
    prompt = tokenizer.encode(f"Table schema:\n{example.context}\nQuestion: {example.question}\nSQL: ")
    answer = tokenizer.encode(f" {example.answer}\n\n", add_special_tokens=False)
    tokens, weights = prompt + answer, [0.0] * len(prompt) + [1.0] * len(answer)
    inputs = {"target_tokens": np.array(tokens[1:]), "weights": np.array(weights[1:], dtype=np.float32)}
    return types.Datum(model_input=types.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=inputs)


data = [datum(example) for example in load_bundled()]
for step in range(int(steps)):
    batch = data[16 * step : 16 * (step + 1)]
    loss = trainer.forward_backward(batch, "cross_entropy")
    update = trainer.optim_step(types.AdamParams(learning_rate=1e-3))
    learnt = sum(datum.loss_fn_inputs["weights"].to_numpy().sum() for datum in batch)
    print(f"step {step + 1}: loss {loss.result().metrics['loss:sum'] / learnt:.3f}")
    update.result()
print("weights to sample from:", trainer.save_weights_for_sampler("supervised").result().path)
print("state to train on:", trainer.save_state("supervised").result().path)
service.close("success").result()
