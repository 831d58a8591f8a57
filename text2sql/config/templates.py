r"""The prompt templates: the values of `prompt.template`, and the texts that examples are put into.

This is the one list of them: a new template is an entry in `TEMPLATES`.

Plain templates, for base models:
    exercise: The course's, to the character: ``Table schema:\n{context}\nQuestion: {question}\nSQL: `` and then
        `` {answer}\n\n``. Prompt and completion meet in two spaces. A byte-level BPE vocabulary has a token for
        `` SELECT`` but reads the prompt's trailing space as a separate token, which ordinary text seldom has before
        a word; the text that is trained is the text that is sampled, so this costs a token and nothing else.
    plain: The same without the trailing space: one token less, and nothing unusual. The difference is small: to the
        untrained SmolLM2-135M-Instruct, the completions of 60 bundled test examples cost 32.3 nats each after this
        prompt and 32.9 after the other. What a model was trained on is what to ask it with.
    wikisql: The WikiSQL notebook's three headings; an answer ends with its line, so set ``evaluation.stop: ["\n"]``.
    question: The question alone, as in the SmolLM2 challenge: tables and columns have to be guessed.

The first two end a completion with a blank line, at which sampling stops; its tokens carry weight 1 like the rest.

Chat templates, for instruct models: roles and words here, marks of turns from the tokenizer's own template. An answer
ends with the model's own end of turn.
    chat: Schema and question in the user's turn.
    chat-bird: The Llama cookbook's: schema, external knowledge and question in the user's turn.
    chat-reasoning: The same with reasoning before the query, which stands in a fenced block at the end.
    chat-system: The QLoRA+ article's: the schema in the system's turn, the bare question in the user's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plain:
    """Text of a prompt and of a completion, with the example's fields in braces."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Chat:
    """Texts of the three turns, with the example's fields in braces."""

    system: str
    user: str
    assistant: str


TEMPLATES: dict[str, Plain | Chat] = {
    "exercise": Plain("Table schema:\n{context}\nQuestion: {question}\nSQL: ", " {answer}\n\n"),
    "plain": Plain("Table schema:\n{context}\nQuestion: {question}\nSQL:", " {answer}\n\n"),
    "wikisql": Plain(
        "You are an expert SQL generator.\n\n"
        "### Database Schema:\n{context}\n\n### Question:\n{question}\n\n### SQL:\n",
        "{answer}\n",
    ),
    "question": Plain("Question: {question}\nSQL:", " {answer}\n\n"),
    "chat": Chat(
        "You write one {dialect} query that answers the user's question. Answer with the query alone.",
        "Schema:\n{context}\n\nQuestion: {question}",
        "{answer}",
    ),
    "chat-bird": Chat(
        "You are a text to SQL query translator. Using the {dialect} DB Schema and the External Knowledge, translate "
        "the following text question into a {dialect} SQL select statement.",
        "-- DB Schema: {context}\n\n-- External Knowledge: {evidence}\n\n-- Question: {question}",
        "{answer}",
    ),
    "chat-reasoning": Chat(
        "You are a text to SQL query translator. Using the {dialect} DB Schema and the External Knowledge, generate "
        "the step-by-step reasoning and the final {dialect} SQL select statement from the text question.",
        "\n-- DB Schema: {context}\n-- External Knowledge: {evidence}\n-- Text Question: {question}\n",
        "{reasoning}",
    ),
    "chat-system": Chat(
        "You are an exceptionally intelligent SQL query translator that consistently delivers accurate and reliable "
        "responses to user instructions. Users will ask you questions in English and you will generate a SQL query "
        "based on the provided SCHEMA.\nSCHEMA:\n{context}",
        "{question}",
        "{answer}",
    ),
}


def needs_reasoning(template: str) -> bool:
    """Whether a template trains on worked answers."""
    chosen = TEMPLATES[template]
    return isinstance(chosen, Chat) and "{reasoning}" in chosen.assistant
