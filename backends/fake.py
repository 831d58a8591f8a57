"""A backend without tensors: it learns by heart.

Its model is a table from prompts to completions. Training on a datum puts it into the table at the next optimiser
step; of answers with advantages that is the best one, where it is above 0. Sampling looks the prompt up, and at a
temperature above 0 draws from what it knows of the prompt. Losses, order, snapshots, checkpoints and errors follow
`backends.interface`, so the loop, the pipeline and the command line can be tested in milliseconds against a model whose
right answers are known.
"""

from __future__ import annotations

import json
import math
import random
import tempfile
import uuid
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import tinker
from tinker import types
from tinker.lib.public_interfaces.api_future import AwaitableConcurrentFuture
from tinker.types.topk_logprobs import MASK_LOGPROB, TopkLogprobs

from backends.capabilities import BACKENDS
from backends.checkpoint_paths import SEGMENTS, CheckpointPath, Kind
from backends.interface import BackendError, BackendFacts
from backends.options import BackendOptions, FakeOptions

if TYPE_CHECKING:
    from backends.interface import CustomLoss

T = TypeVar("T")
LearnedAnswers = dict[str, list[int]]
# Log-probability of a target that has not been learnt.
UNKNOWN = -math.log(256)
Answer = tinker.APIFuture


class ByteTokenizer:
    """One token per byte of UTF-8, plus 256 for the end of a sequence."""

    eos_token_id = 256
    bos_token_id = None
    all_special_ids = (256,)
    chat_template = "<role>content"

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The bytes of the text."""
        return list(text.encode())

    def __call__(self, texts: list[str], *, add_special_tokens: bool = True) -> dict[str, list[list[int]]]:
        """Many texts at once."""
        return {"input_ids": [self.encode(text) for text in texts]}

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: Literal[False], add_generation_prompt: bool = False
    ) -> str:
        """Each turn behind its role."""
        turns = "".join(f"<{turn['role']}>{turn['content']}" for turn in conversation)
        return turns + ("<assistant>" if add_generation_prompt else "")

    def decode(
        self, tokens: Sequence[int], skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str:
        """The text of the bytes; invalid ones are replaced."""
        return bytes(t for t in tokens if t < 256).decode(errors="replace")


def _done(value: T) -> Answer[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return AwaitableConcurrentFuture(future)


def _failed(error: Exception) -> Answer[T]:
    future: Future[T] = Future()
    future.set_exception(error)
    return AwaitableConcurrentFuture(future)


def _key(tokens: list[int]) -> str:
    return " ".join(map(str, tokens))


@dataclass(frozen=True)
class _State:
    """What a checkpoint holds."""

    base_model: str
    table: LearnedAnswers
    steps: int


class FakeSamplingClient:
    """Looks prompts up in a table."""

    def __init__(self, table: LearnedAnswers, options: FakeOptions) -> None:
        encode = ByteTokenizer().encode
        self._table = table
        self._default = encode(options.default_answer)
        self._samples = {_key(encode(prompt)): [*map(encode, own)] for prompt, own in options.samples.items()}

    def sample(
        self,
        prompt: types.ModelInput,
        num_samples: int,
        sampling_params: types.SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        *,
        prompt_logprobs_last_n: int | None = None,
    ) -> Answer[types.SampleResponse]:
        """The completion learnt for the prompt, or one drawn by seed, cut at the stop strings and at `max_tokens`.

        Of the prompt's own tokens it names at most one likely token at each position, however many are asked for.
        """
        known = self._table.get(_key(prompt.to_ints()))
        choices = [known if known is not None else self._default]
        if sampling_params.temperature > 0 and (others := self._samples.get(_key(prompt.to_ints()))):
            choices = [*([known] if known is not None else []), *others]
        drawn = random.Random(sampling_params.seed).choices(choices, k=num_samples)
        sequences = [_cut(own, sampling_params, len(choices)) for own in drawn]
        if not include_prompt_logprobs:
            return _done(types.SampleResponse(sequences=sequences))
        tokens = prompt.to_ints()
        expected, scores = self._scores(tokens, prompt_logprobs_last_n)
        ids = np.zeros((len(tokens), min(topk_prompt_logprobs, 1)), dtype=np.int32)
        top = np.full(ids.shape, MASK_LOGPROB, dtype=np.float32)
        for place, learnt in enumerate(expected):
            if learnt is not None and not np.isnan(scores[place]):
                ids[place], top[place] = learnt, 0.0
        likeliest = TopkLogprobs(token_ids=ids, logprobs=top) if topk_prompt_logprobs else None
        return _done(
            types.SampleResponse(sequences=sequences, prompt_logprobs_np=scores, topk_prompt_logprobs_np=likeliest)
        )

    def _scores(self, tokens: list[int], last: int | None) -> tuple[list[int | None], np.ndarray]:
        """What is expected at each position, and log-probabilities ``[T]`` of the last N tokens, NaN before them."""
        expected, first = self._expected(tokens), len(tokens) - (last or len(tokens) - 1)
        scores = np.full(len(tokens), np.nan, dtype=np.float32)
        for place in range(first, len(tokens)):
            scores[place] = 0.0 if expected[place] == tokens[place] else UNKNOWN
        return expected, scores

    def _expected(self, tokens: list[int]) -> list[int | None]:
        """At each position the token that it has learnt to write there, behind what it has learnt to answer."""
        expected: list[int | None] = [None] * len(tokens)
        key = ""
        for place, token in enumerate(tokens):
            key = f"{key} {token}" if key else str(token)
            for offset, learnt in enumerate(self._table.get(key, ())):
                at = place + 1 + offset
                if at >= len(tokens):
                    break
                expected[at] = learnt
                if learnt != tokens[at]:
                    break
        return expected

    def stream(
        self, prompt: types.ModelInput, sampling_params: types.SamplingParams
    ) -> Generator[int, None, types.SampleResponse]:
        """The tokens of `sample` one by one; the generator returns its response."""
        response = self.sample(prompt, 1, sampling_params).result()
        yield from response.sequences[0].tokens
        return response

    def compute_logprobs(
        self, prompt: types.ModelInput, prompt_logprobs_last_n: int | None = None
    ) -> Answer[list[float | None]]:
        """Log-probability 0 of what it has learnt to write behind a prompt, of a guess among 256 for the rest."""
        _, scores = self._scores(prompt.to_ints(), prompt_logprobs_last_n)
        return _done([None if np.isnan(score) else float(score) for score in scores])

    def get_tokenizer(self) -> ByteTokenizer:
        """The byte tokenizer."""
        return ByteTokenizer()


def _cut(completion: list[int], params: types.SamplingParams, choices: int) -> types.SampledSequence:
    """A completion up to what stops it; its first token is as likely as one of N, the others are certain."""
    whole = [*completion, ByteTokenizer.eos_token_id]
    stops = [params.stop] if isinstance(params.stop, str) else list(params.stop or [])
    tokens, stopped = whole, True
    for end in range(1, len(whole) + 1):
        text = ByteTokenizer().decode(whole[:end])
        if whole[end - 1] == ByteTokenizer.eos_token_id or any(isinstance(s, str) and s in text for s in stops):
            tokens = whole[:end]
            break
        if end == params.max_tokens:
            tokens, stopped = whole[:end], False
            break
    logprobs = np.zeros(len(tokens), dtype=np.float32)
    logprobs[0] = -math.log(choices)
    return types.SampledSequence(
        stop_reason="stop" if stopped else "length",
        sequence_id=uuid.uuid4().hex,
        tokens_np=np.asarray(tokens, dtype=np.int32),
        logprobs_np=logprobs,
    )


class FakeTrainingClient:
    """Learns completions by heart at each optimiser step."""

    def __init__(
        self, service: FakeServiceClient, model_id: str, base_model: str, table: LearnedAnswers, steps: int = 0
    ) -> None:
        self.model_id = model_id
        self._service = service
        self._base_model = base_model
        self._table = table
        self._steps = steps
        self._pending: LearnedAnswers | None = None

    def forward(
        self, data: list[types.Datum], loss_fn: str, loss_fn_config: dict[str, float] | None = None
    ) -> Answer[types.ForwardBackwardOutput]:
        """Log-probability 0 for what has been learnt, of a guess among 256 for the rest."""
        if not data:
            raise ValueError("No data provided")
        total, outputs = 0.0, []
        for datum in data:
            prompt, _ = _prompt_and_completion(datum)
            weights = _weights(datum)
            logprobs = np.full(len(weights), 0.0 if _key(prompt) in self._table else UNKNOWN, dtype=np.float32)
            total -= float((weights * logprobs).sum())
            outputs.append({"logprobs": types.TensorData.from_numpy(logprobs)})
        return _done(types.ForwardBackwardOutput("ArrayRecord", outputs, {"loss:sum": total}))

    def forward_backward(
        self, data: list[types.Datum], loss_fn: str, loss_fn_config: dict[str, float] | None = None
    ) -> Answer[types.ForwardBackwardOutput]:
        """The loss; the data are remembered for the next step."""
        output = self.forward(data, loss_fn, loss_fn_config)
        # The best of a group comes last; one that is no better than the others is not learnt.
        ordered = sorted(data, key=lambda datum: float(_weights(datum).max(initial=0.0)))
        pairs = [_prompt_and_completion(datum) for datum in ordered if _weights(datum).max(initial=0.0) > 0]
        self._pending = {**(self._pending or {}), **{_key(prompt): completion for prompt, completion in pairs}}
        return output

    def forward_backward_custom(
        self, data: list[types.Datum], loss_fn: CustomLoss
    ) -> Answer[types.ForwardBackwardOutput]:
        """The loss; the data that it wants likelier are remembered for the next step."""
        # Not at the top: most of what uses this backend needs no tensors.
        import torch

        output = self.forward(data, "cross_entropy").result()
        leaves = [record["logprobs"].to_torch().requires_grad_() for record in output.loss_fn_outputs]
        loss, metrics = loss_fn(data, leaves)
        slopes = torch.autograd.grad(loss, leaves)
        wanted = [datum for datum, slope in zip(data, slopes, strict=True) if float(slope.sum()) < 0]
        self._pending = {**(self._pending or {}), **{_key(p): c for p, c in map(_prompt_and_completion, wanted)}}
        sums = {**metrics, "loss:sum": float(loss.detach())}
        return _done(types.ForwardBackwardOutput("ArrayRecord", output.loss_fn_outputs, sums))

    def optim_step(self, optim_params: types.AdamParams) -> Answer[types.OptimStepResponse]:
        """Learn what was remembered."""
        if self._pending is None:
            return _failed(ValueError("optim_step needs a forward_backward since the last step."))
        grad_norm = float(len(self._pending))
        self._table, self._pending, self._steps = {**self._table, **self._pending}, None, self._steps + 1
        return _done(types.OptimStepResponse(metrics={"grad_norm:mean": grad_norm}))

    def save_state(
        self, name: str, ttl_seconds: int | None = None, overwrite: bool = False
    ) -> Answer[types.SaveWeightsResponse]:
        """Save the table and the step count."""
        return _done(types.SaveWeightsResponse(path=self._save("training", name)))

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None
    ) -> Answer[types.SaveWeightsForSamplerResponse]:
        """Save the table."""
        return _done(types.SaveWeightsForSamplerResponse(path=self._save("sampler", name)))

    def _save(self, kind: Kind, name: str) -> str:
        path = str(CheckpointPath(self.model_id, kind, name))
        state = _State(self._base_model, self._table, self._steps)
        file = self._service.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(state)))
        return path

    def save_weights_and_get_sampling_client(self, name: str | None = None) -> Answer[FakeSamplingClient]:
        """A snapshot of the table."""
        return _done(FakeSamplingClient(dict(self._table), self._service.options))

    def get_info(self) -> types.GetInfoResponse:
        """The model's id and base model."""
        data = types.ModelData(arch="fake", model_name=self._base_model)
        return types.GetInfoResponse(model_id=self.model_id, model_data=data, is_lora=True, lora_rank=1)

    def get_tokenizer(self) -> ByteTokenizer:
        """The byte tokenizer."""
        return ByteTokenizer()


class FakeServiceClient:
    """Makes clients that learn by heart."""

    capabilities = BACKENDS["fake"].capabilities

    def __init__(self, options: BackendOptions | None = None, *, checkpoints: Path | None = None) -> None:
        self.options = FakeOptions.read(options)
        self._root = checkpoints or Path(tempfile.mkdtemp(prefix="text2sql-"))
        self._session = uuid.uuid4().hex[:8]
        self._models = 0

    def file(self, path: str) -> Path:
        """Where a ``tinker://`` path is kept."""
        parsed = CheckpointPath.parse(path)
        return self._root / parsed.run.replace(":", "-") / f"{parsed.checkpoint_id}.json"

    def describe(self) -> BackendFacts:
        """No facts: there is nothing to choose."""
        return BackendFacts()

    def describe_training(self, base_model: str, rank: int, **flags: bool) -> None:
        """None: there are no modules to train."""
        return None

    def check_model(self, base_model: str) -> None:
        """Any model will do."""

    def get_server_capabilities(self) -> types.GetServerCapabilitiesResponse:
        """None: any model will do."""
        return types.GetServerCapabilitiesResponse(supported_models=[])

    def create_lora_training_client(
        self, base_model: str, rank: int = 32, **flags: object
    ) -> Answer[FakeTrainingClient]:
        """A client that knows the scripted answers alone."""
        return _done(FakeTrainingClient(self, self._next_id(), base_model, self._scripted()))

    def create_training_client_from_state(self, path: str) -> Answer[FakeTrainingClient]:
        """A client that knows what the saved one knew."""
        try:
            state = self._load(path)
        except BackendError as error:
            return _failed(error)
        return _done(FakeTrainingClient(self, self._next_id(), state.base_model, state.table, state.steps))

    create_training_client_from_state_with_optimizer = create_training_client_from_state

    def create_sampling_client(
        self, model_path: str | None = None, base_model: str | None = None
    ) -> Answer[FakeSamplingClient]:
        """A sampling client of a saved table, or of the scripted answers."""
        if model_path is None and base_model is None:
            raise ValueError("Either model_path or base_model must be given.")
        table = self._scripted()
        if model_path is not None:
            try:
                table = self._load(model_path).table
            except BackendError as error:
                return _failed(error)
        return _done(FakeSamplingClient(table, self.options))

    def create_rest_client(self) -> FakeServiceClient:
        """Housekeeping is done here as well."""
        return self

    def list_checkpoints(self, training_run_id: str) -> Answer[types.CheckpointsListResponse]:
        """The tables that a client has saved."""
        found = []
        for kind in SEGMENTS:
            for file in sorted(self.file(str(CheckpointPath(training_run_id, kind, "x"))).parent.glob("*.json")):
                path = CheckpointPath(training_run_id, kind, file.stem)
                found.append(
                    types.Checkpoint(
                        checkpoint_id=path.checkpoint_id,
                        checkpoint_type=kind,
                        tinker_path=str(path),
                        time=datetime.fromtimestamp(file.stat().st_mtime, UTC),
                    )
                )
        return _done(types.CheckpointsListResponse(checkpoints=found))

    def get_weights_info_by_tinker_path(self, tinker_path: str) -> Answer[types.WeightsInfoResponse]:
        """The base model of a saved table."""
        try:
            state = self._load(tinker_path)
        except BackendError as error:
            return _failed(error)
        return _done(types.WeightsInfoResponse(base_model=state.base_model, is_lora=True, lora_rank=1))

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> Answer[None]:
        """Delete a saved table."""
        self.file(tinker_path).unlink(missing_ok=True)
        return _done(None)

    def close(self, status: str = "success") -> None:
        """Nothing to release."""

    def _load(self, path: str) -> _State:
        try:
            return _State(**json.loads(self.file(path).read_text()))
        except OSError as error:
            raise BackendError(f"There is no checkpoint {path} ({self.file(path)}).") from error
        except (ValueError, TypeError) as error:
            raise BackendError(f"The checkpoint {path} ({self.file(path)}) is damaged: {error}") from error

    def _scripted(self) -> LearnedAnswers:
        encode = ByteTokenizer().encode
        return {_key(encode(prompt)): encode(completion) for prompt, completion in self.options.answers.items()}

    def _next_id(self) -> str:
        self._models += 1
        return f"{self._session}:train:{self._models - 1}"


def _weights(datum: types.Datum) -> np.ndarray:
    """The weights of a datum's targets, or their advantages."""
    name = "weights" if "weights" in datum.loss_fn_inputs else "advantages"
    return datum.loss_fn_inputs[name].to_numpy()


def _prompt_and_completion(datum: types.Datum) -> tuple[list[int], list[int]]:
    """A datum's tokens before and from its first weighted target."""
    weights = _weights(datum)
    targets = [int(t) for t in datum.loss_fn_inputs["target_tokens"].to_numpy()]
    first = int(np.flatnonzero(weights)[0]) if weights.any() else len(targets)
    return datum.model_input.to_ints()[: first + 1], targets[first:]
