"""The section of a chat model behind an endpoint: the judge of `judge`, and the teachers of `text2sql data`."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from backends.options import Changes
from backends.redaction import holds_secret, names_secret
from text2sql.config.section import Section


def _secret_in(value: Any) -> str | None:
    """The name of the first key, at any depth, that is that of a secret."""
    if isinstance(value, dict):
        found = (str(key) if names_secret(str(key)) else _secret_in(inner) for key, inner in value.items())
        return next(filter(None, found), None)
    return next(filter(None, map(_secret_in, value)), None) if isinstance(value, list) else None


class EndpointConfig(Section):
    """A chat model behind an OpenAI-compatible endpoint: OpenAI itself, or vLLM, SGLang, Ollama, a gateway.

    Prices and `max_cost` are in US dollars. The key is read from the environment, never from a file.
    """

    CHANGES: ClassVar[Changes] = "reports"

    model: str = Field(description="The model's name at the endpoint.")
    base_url: str = Field("https://api.openai.com/v1", description="The endpoint, up to what precedes /chat.")
    api_key_env: str | None = Field(
        "OPENAI_API_KEY", description="Environment variable that holds the key; null for an endpoint without keys."
    )
    temperature: float | None = Field(0.0, ge=0, le=100, description="null leaves it to the endpoint.")
    max_tokens: PositiveInt | None = Field(1024, description="Longest answer; null leaves it to the endpoint.")
    extra: dict[str, Any] = Field(default_factory=dict, description="Further fields of every request.")
    concurrency: PositiveInt = Field(8, le=10_000, description="Requests in flight.")
    timeout: PositiveFloat = Field(120.0, description="Seconds for one request.")
    max_retries: int = Field(
        5, ge=0, le=1000, description="Retries of a request on a rate limit, a server error or a time-out."
    )
    input_price: float | None = Field(None, ge=0, description="Dollars per million tokens of the prompts.")
    output_price: float | None = Field(None, ge=0, description="Dollars per million tokens of the answers.")
    max_cost: PositiveFloat | None = Field(None, description="Dollars that one command may spend; needs the prices.")

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("must be an address such as https://api.openai.com/v1")
        if url.username or url.password or holds_secret(value):
            raise ValueError("must hold no password: keys are taken from the environment (api_key_env)")
        return value.rstrip("/")

    @field_validator("extra")
    @classmethod
    def _no_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        if secret := _secret_in(value):
            raise ValueError(f"must not hold {secret}: keys are taken from the environment (api_key_env)")
        return value

    @model_validator(mode="after")
    def _priced(self) -> EndpointConfig:
        if (self.input_price is None) != (self.output_price is None):
            raise ValueError("input_price and output_price belong together")
        if self.max_cost is not None and self.input_price is None:
            raise ValueError("max_cost needs input_price and output_price")
        return self
