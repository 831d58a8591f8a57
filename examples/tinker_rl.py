"""Learning from the evaluator's verdicts with the Tinker SDK, on a page; text2sql gives questions and rewards.

    python examples/tinker_rl.py Qwen/Qwen3.5-4B               # the hosted API
    python examples/tinker_rl.py smollm2-135m-instruct         # `text2sql serve`, with TINKER_BASE_URL
    python examples/tinker_rl.py smollm2-135m-instruct local   # in this process

The key is TINKER_API_KEY, in the environment or in a file .env.

An untuned model is seldom right, and so seldom paid: begin with a state that `examples/tinker_supervised.py` has
printed, as the third argument.
"""

import sys

import numpy as np
import tinker
from dotenv import load_dotenv
from tinker import types

from backends import open_backend
from text2sql.data.sources.bundled import load_bundled
from text2sql.rewards import reward_answers

GROUP, QUESTIONS = 8, 4


def datum(prompt, answer, logprobs, advantage):
    tokens, before = prompt + answer, [0.0] * (len(prompt) - 1)
    inputs = {"logprobs": before + logprobs, "advantages": before + [advantage] * len(answer)}
    arrays = {name: np.array(values, dtype=np.float32) for name, values in inputs.items()}
    inputs = {"target_tokens": np.array(tokens[1:]), **arrays}
    return types.Datum(model_input=types.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=inputs)


def learn(trainer, steps):
    tokenizer, examples = trainer.get_tokenizer(), load_bundled()
    wanted = types.SamplingParams(max_tokens=60, temperature=1.0, stop=["\n\n"])
    for step in range(steps):
        sampler = trainer.save_weights_and_get_sampling_client().result()
        asked = examples[QUESTIONS * step : QUESTIONS * (step + 1)]
        texts = [f"Table schema:\n{example.context}\nQuestion: {example.question}\nSQL: " for example in asked]
        prompts = [tokenizer.encode(text) for text in texts]
        coming = [sampler.sample(types.ModelInput.from_ints(p), GROUP, wanted) for p in prompts]
        answers = [sequence for answer in coming for sequence in answer.result().sequences]
        golds, schemas = (
            [value for e in asked for value in [getattr(e, name)] * GROUP] for name in ("answer", "context")
        )
        paid = reward_answers([tokenizer.decode(answer.tokens) for answer in answers], golds, schemas)
        # What cannot be decided is paid like the mean of the others.
        rewards = np.array([np.nan if reward.value is None else reward.value for reward in paid]).reshape(-1, GROUP)
        advantages = np.nan_to_num(rewards - np.nanmean(rewards, axis=1, keepdims=True)).flatten()
        batch = [
            datum(prompts[i // GROUP], list(answer.tokens), list(answer.logprobs), float(advantages[i]))
            for i, answer in enumerate(answers)
        ]
        gradient = trainer.forward_backward(batch, "importance_sampling")
        trainer.optim_step(types.AdamParams(learning_rate=1e-4)).result()
        gradient.result()
        print(f"step {step + 1}: reward {np.nanmean(rewards):.3f}")
    return trainer.save_weights_for_sampler("verdicts").result().path


# The rewards are computed in other processes, which read this file too.
if __name__ == "__main__":
    load_dotenv()
    model, where, state, steps = [*sys.argv[1:], *("", "", "", "10")[len(sys.argv) - 1 :]]
    service = open_backend("local") if where == "local" else tinker.ServiceClient()
    begun = (
        service.create_training_client_from_state(state)
        if state
        else service.create_lora_training_client(model, rank=16)
    )
    print("weights to sample from:", learn(begun.result(), int(steps)))
    service.close("success").result()
