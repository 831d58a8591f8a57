"""A client of OpenAI-compatible chat endpoints: many requests at once, each answered and paid for only once."""

from text2sql.chat_client.client import ChatClient
from text2sql.chat_client.completion import Answer, ChatFailure, Completion

__all__ = ["Answer", "ChatClient", "ChatFailure", "Completion"]
