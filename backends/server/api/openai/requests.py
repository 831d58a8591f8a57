"""The bodies of OpenAI's completions. What is not supported is refused by its name; nothing is ignored that matters."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from fastapi import Request
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import from_json

from backends.server.api.json_body import check_json, explain, require_json
from backends.server.api.request import parsed, read_body, state_of
from backends.server.errors import ApiError

DEFAULT_COMPLETION_TOKENS = 16
MOST_TOP_LOGPROBS = 20

# Fields that clients send along with values that ask for nothing; any other value of them is refused.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "suffix": ("",),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (False, True),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
# Labels, which change nothing of the answer.
WITHOUT_EFFECT = {"user", "metadata", "safety_identifier", "prompt_cache_key"}


def _must_be(what: str) -> WrapValidator:
    """Says what a field of several types must be, where each of the types would say what it is not."""

    def check(value: Any, types_of_field: ValidatorFunctionWrapHandler) -> Any:
        try:
            return types_of_field(value)
        except ValidationError as error:
            raise ValueError(f"must be {what}") from error

    return WrapValidator(check)


Prompt = str | list[int] | list[str] | list[list[int]]

# Whose a message may be. The template decides which of them it takes.
Role = Literal["system", "developer", "user", "assistant"]
OF_TOOLS = ("tool", "function")

Body = TypeVar("Body", bound="CompletionSettings")


class StreamOptions(BaseModel):
    """What a stream has besides its text."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class CompletionSettings(BaseModel):
    """What both kinds of completion have."""

    model_config = ConfigDict(extra="forbid")

    model: str
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1)
    stop: Annotated[str | list[str], _must_be("a text or a list of texts")] = []
    seed: int | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def length(self) -> int | None:
        """Most tokens of one answer; None: as many as the model takes."""
        raise NotImplementedError

    @property
    def top(self) -> int | None:
        """How many of the most probable tokens are wanted at each position; None: no log-probabilities at all."""
        raise NotImplementedError


class CompletionRequest(CompletionSettings):
    """``POST /v1/completions``."""

    prompt: Annotated[Prompt, _must_be("a text, a list of token ids, or a list of either, whose elements are alike")]
    max_tokens: int = Field(DEFAULT_COMPLETION_TOKENS, ge=0)
    logprobs: int | None = Field(None, ge=0, le=MOST_TOP_LOGPROBS)
    echo: bool = False

    @model_validator(mode="after")
    def _nothing_to_do(self) -> CompletionRequest:
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens is 0, which asks for nothing unless echo is true")
        if self.stream and self.echo:
            raise ValueError("echo and stream do not go together here")
        return self

    @property
    def length(self) -> int | None:
        """Most tokens of one answer."""
        return self.max_tokens

    @property
    def top(self) -> int | None:
        """How many of the most probable tokens are wanted; None: no log-probabilities."""
        return self.logprobs


class TextPart(BaseModel):
    """A part of a message's content."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    content: str | list[TextPart]

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, value: Any) -> Any:
        # Clients send an earlier answer back with all its fields, of which most are null or empty.
        if isinstance(value, dict):
            return {name: held for name, held in value.items() if name in cls.model_fields or held not in (None, [])}
        return value

    @field_validator("role", mode="before")
    @classmethod
    def _known_role(cls, role: Any) -> Any:
        if role in OF_TOOLS:
            raise ValueError(f'this server has no tools, so that no message has the role "{role}"; leave it out')
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _text_alone(cls, content: Any) -> Any:
        """Say which kind of content is not read here, where the union of types would list all that it is not."""
        if not isinstance(content, str | list):
            raise ValueError(f"a message holds a text or a list of text parts, not {_kind(content)}")
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else _kind(part)
            if kind != "text":
                raise ValueError(f"the models here read text alone, not parts of type {str(kind)[:50]}")
        return content

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(CompletionSettings):
    """``POST /v1/chat/completions``."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=MOST_TOP_LOGPROBS)

    @model_validator(mode="after")
    def _top_needs_logprobs(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        return self

    @property
    def length(self) -> int | None:
        """Most tokens of one answer; None: as many as the model takes."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def top(self) -> int | None:
        """How many of the most probable tokens are wanted; None: no log-probabilities."""
        return self.top_logprobs if self.logprobs else None


async def read_request(request: Request, kind: type[Body]) -> Body:
    """The body of a completion.

    Raises:
        ApiError: 415 if it is not sent as JSON, 400 with the name of what is not supported, 422 with what is wrong.
    """
    body = await read_body(request, state_of(request).limits.sample_request_bytes)
    require_json(request.headers)
    return await parsed(request, lambda content: _read(content, kind), body)


def _read(body: bytes, kind: type[Body]) -> Body:
    check_json(body)
    try:
        values = from_json(body)
    except ValueError as error:
        raise ApiError(422, f"The body is no JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ApiError(422, "The body must be a JSON object.")
    try:
        return kind.model_validate(_supported(values, kind), strict=True)
    except ValidationError as error:
        raise ApiError(422, explain(error)) from error


def _supported(values: dict[str, Any], kind: type[Body]) -> dict[str, Any]:
    """The fields that are carried out; null stands for a default (ApiError names what is not supported)."""
    kept = {}
    for name, value in values.items():
        if value is None or name in WITHOUT_EFFECT or value in NEUTRAL.get(name, ()):
            continue
        if name not in kind.model_fields:
            raise ApiError(400, f"{name[:100]} is not supported by this server; leave it out.")
        kept[name] = value
    return kept
