"""The course exercise against the plain Tinker SDK: sample before, prepare, train, sample after, new schemas.

    python scripts/exercise_tinker.py sql_create_context_v4.json
    TINKER_BASE_URL=http://127.0.0.1:8000 TINKER_API_KEY=tml-x python scripts/exercise_tinker.py DATA --base-model NAME

The first runs on the hosted API (TINKER_API_KEY, in the environment or in a file .env), the second on `text2sql serve`;
nothing else differs. Only the judging of answers is this project's own. At the end it prints how the adapter is
downloaded.
"""

import argparse
import json
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tinker
from dotenv import load_dotenv
from tinker import types

from text2sql.data.exercise_questions import EXERCISE_QUESTIONS
from text2sql.evaluation import execution_match

PROMPT = "Table schema:\n{context}\nQuestion: {question}\nSQL: "


def sample_from_model(sampling_client, tokenizer, context, question):
    tokens = tokenizer.encode(PROMPT.format(context=context, question=question), add_special_tokens=True)
    params = types.SamplingParams(max_tokens=150, temperature=0.0, stop=["\n\n", "Question:"])
    result = sampling_client.sample(types.ModelInput.from_ints(tokens), num_samples=1, sampling_params=params).result()
    text = tokenizer.decode(result.sequences[0].tokens, skip_special_tokens=True)
    return text.split("\n\n")[0].split("Question:")[0].strip()


def evaluate_test_set(sampling_client, tokenizer, test_data, workers):
    def eval_one(example):
        sql = sample_from_model(sampling_client, tokenizer, example["context"], example["question"])
        return execution_match(example["context"], example["answer"], sql).correct

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(eval_one, test_data))


def process_example(example, tokenizer):
    prompt = tokenizer.encode(PROMPT.format(**example), add_special_tokens=True)
    completion = tokenizer.encode(f" {example['answer']}\n\n", add_special_tokens=False)
    tokens, weights = prompt + completion, [0.0] * len(prompt) + [1.0] * len(completion)
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={"target_tokens": np.array(tokens[1:]), "weights": np.array(weights[1:], dtype=np.float32)},
    )


def train(training_client, data, epochs, batch_size, learning_rate):
    step, starts = 0, range(0, len(data), batch_size)
    for epoch in range(epochs):
        random.shuffle(data)
        for start in starts:
            batch = data[start : start + batch_size]
            losses = training_client.forward_backward(batch, "cross_entropy")
            update = training_client.optim_step(types.AdamParams(learning_rate=learning_rate))
            outputs = losses.result().loss_fn_outputs
            update.result()
            logprobs = np.concatenate([output["logprobs"].to_numpy() for output in outputs])
            weights = np.concatenate([datum.loss_fn_inputs["weights"].to_numpy() for datum in batch])
            step += 1
            if step % max(1, len(starts) // 10) == 0 or start == starts[-1]:
                print(f"Epoch {epoch + 1}/{epochs}, update {step}, loss {-logprobs @ weights / weights.sum():.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="sql_create_context_v4.json, or another list of {question, context, answer}")
    parser.add_argument("--base-model", default="Qwen/Qwen3.5-4B")
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--train", type=int, default=None, help="training examples; all by default")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--workers", type=int, default=32, help="test questions in flight")
    options = parser.parse_args()

    load_dotenv()
    random.seed(0)
    with open(options.data, encoding="utf-8") as file:
        data = json.load(file)
    random.shuffle(data)
    test_data, train_data = data[: options.test], data[options.test :][: options.train]
    print(f"{len(train_data)} training and {len(test_data)} test examples")

    with tinker.ServiceClient() as service_client:
        training_client = service_client.create_lora_training_client(base_model=options.base_model).result()
        tokenizer = training_client.get_tokenizer()
        base = training_client.save_weights_and_get_sampling_client().result()
        before = evaluate_test_set(base, tokenizer, test_data, options.workers)
        print(f"Base model: {before}/{len(test_data)} = {before / len(test_data):.1%}")

        processed = [process_example(example, tokenizer) for example in train_data]
        train(training_client, processed, options.epochs, options.batch_size, options.learning_rate)

        state = training_client.save_state(name="exercise").result().path
        path = training_client.save_weights_for_sampler(name="exercise").result().path
        tuned = service_client.create_sampling_client(model_path=path).result()
        after = evaluate_test_set(tuned, tokenizer, test_data, options.workers)
        print(f"Tuned model {path}: {after}/{len(test_data)} = {after / len(test_data):.1%}")
        print(f"Download the adapter: tinker checkpoint download {state}")
        for example in EXERCISE_QUESTIONS:
            sql = sample_from_model(tuned, tokenizer, example.context, example.question)
            right = execution_match(example.context, example.answer, sql).correct
            print(f"\n{example.question}\n  {sql}\n  {'right' if right else 'wrong'}")


if __name__ == "__main__":
    main()
