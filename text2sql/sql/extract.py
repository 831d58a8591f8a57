"""Extracts the SQL from a language model's answer.

The rules, in order:

1. Reasoning between ``<think>`` tags is dropped, and so is everything after the end of the model's turn: a marker such
   as ``<|im_end|>``, or the label of another question (``Question:``, ``### Instruction``).
2. If there are markdown fences, the last fenced block that contains a query is the text; a fence that never closes runs
   to the end. Inline code in single backticks counts only if nothing outside it begins a query.
3. The query begins at the first ``SELECT``, ``WITH`` or ``VALUES`` that starts a statement: at the beginning of the
   text or of a line, after a colon, semicolon or opening parenthesis that starts a line. Failing that, at the first
   word that starts a statement of any other kind (so that ``DROP TABLE`` is seen, and refused, not overlooked).
   Failing that, at the first ``SELECT`` anywhere.
4. It ends at the first semicolon outside quotes, at a closing fence or tag, before a label (``Output:``), a line of
   prose or of a result, or before a line that begins another statement. An unfinished query is returned as far as it
   goes; a text without SQL gives the empty string.
5. Queries that follow are noted, unless they repeat the first one (the last repetition may be cut off). A statement
   that does more than read is noted wherever it stands in the text; only the schema repeated in a fenced block before
   the query, as ``CREATE TABLE`` statements, is not.

Every step is linear in the length of the text: no pattern is tried twice on the same stretch of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from text2sql.sql.statements import KEYWORDS, find_write, find_write_in_tokens, opens_statement
from text2sql.sql.tokens import Token, tokenize

_THINK = re.compile(r"<think>.*?(?:</think>|\Z)|\A.*?</think>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"(?:```|~~~)[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?\n?(.*?)(?:```|~~~|\Z)", re.DOTALL)
_INLINE_CODE = re.compile(r"`([^`\n]+)`")
_LABEL = re.compile(r"\s*(?:(?:sql(?:ite)?(?:\s+query)?|query|answer|output|result)\s*[:=]\s*|sql(?:ite)?\s*\n)", re.I)

# Ends of a turn in the chat templates of common models; in a base model's text some are plain words.
_MARKER = r"<\|\w+\|>|</?s>|<(?:eos|end_of_turn|start_of_turn)>|\[/?INST\]"
_TURN_END = re.compile(
    _MARKER + r"|^[ \t]*(?:#+[ \t]*|\*\*)?(?:question|user|human|instruction|schema|context|input|problem|task)s?"
    r"(?:[ \t]*\d+)?(?:\*\*)?(?::|(?<=\w)[ \t]*$)",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(_MARKER + r"|</[A-Za-z]\w*>", re.IGNORECASE)

_READ_STATEMENT = re.compile(
    r"\b(?:(?:SELECT|VALUES)\b(?!\s*[,.:])|WITH\s+(?:RECURSIVE\s+)?[\w\"`\[\]]+\s*(?:\([^()]*\)\s*)?AS\s*(?:NOT\s+)?"
    r"(?:MATERIALIZED\s*)?\()",
    re.IGNORECASE,
)
_OTHER_STATEMENT = re.compile(
    r"\b(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM"
    r"|(?:DROP|ALTER|CREATE)\s+(?:TEMP\s+|TEMPORARY\s+|UNIQUE\s+|VIRTUAL\s+)?(?:TABLE|VIEW|INDEX|TRIGGER|DATABASE)"
    r"|TRUNCATE|ATTACH|DETACH|PRAGMA|VACUUM|REINDEX|ANALYZE|EXPLAIN|BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE"
    r"|GRANT|REVOKE|MERGE\s+INTO)\b",
    re.IGNORECASE,
)
_SELECT_ANYWHERE = re.compile(r"\bSELECT\b\s++(?!statement|query|clause)", re.IGNORECASE)

# First words of a line of prose.
_PROSE = re.compile(
    r"#+\s|\*\*|explanation\b|notes?\b|this\s+(?:query|sql|statement|will|returns|selects)|the\s+(?:query|above|result)"
    r"|here(?:'s|\s+is|\s+are)\b|it\s+(?:returns|selects|will)|in\s+this\s+query|let\s+me|i\s+(?:have|used|hope)"
    r"|(?:output|results?|examples?)\s*$|<\|?\w|</\w|\[/?\w+\]",
    re.IGNORECASE,
)
# In SQLite a colon only precedes the name of a parameter and never follows a word.
_LABEL_LINE = re.compile(r"[A-Za-z][\w ()'/&-]{0,60}(?<=[\w)]):(?=[\s*]|\Z)")
_LABEL_WORDS = re.compile(
    r"(?:(?:expected|sample|example|query)\s+)?"
    r"(?:outputs?|results?|answer|explanation|examples?|notes?|question|response|input|sql)\s?:(?=\s|\Z)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[A-Z][\w']*(?:\s+[\w'`\",]+){2,}")
_RESULT_LINE = re.compile(r"\|.*\|\s*\Z|\+[-=+]{3,}")
_RULE = re.compile(r"^-{3,}[ \t]*$", re.MULTILINE)
# Tokens at the end of a line that a query continues after.
_CONTINUATION_TOKENS = frozenset([",", "=", "<", ">", "+", "-", "*", "/", "(", "||", "<>", "!=", "<=", ">="])
_BEFORE_SUBQUERY = frozenset(["UNION", "ALL", "EXCEPT", "INTERSECT", "AS", "EXISTS", "IN", "MATERIALIZED"])


@dataclass(frozen=True)
class Answer:
    """The content of a model's answer.

    Attributes:
        sql: The answer's query, without its semicolon; empty if there is none.
        others: The queries that follow it and do not repeat it.
        writes: The start of a statement that does more than read, wherever it is in the answer; empty if there is none.
    """

    sql: str
    others: tuple[str, ...] = ()
    writes: str = ""


def extract_sql(text: str) -> str:
    """Returns the query of a model's answer, by the rules in this module's docstring.

    Args:
        text: The raw text of the answer.

    Returns:
        The query without its semicolon, or the empty string. Never fails.
    """
    return read_answer(text).sql


# Cached because the evaluator and the description of its verdict read the same answer.
@lru_cache(maxsize=4)
def read_answer(text: str) -> Answer:
    """Reads a model's answer by the rules in this module's docstring; never fails."""
    text = _THINK.sub(" ", text.replace("\x00", " ").replace("\ufeff", "")).strip()
    if not text:
        return Answer("")
    before, text, after = _unfence(_first_turn(text))
    label = _LABEL.match(text)
    text = text[label.end() :] if label else text
    start = _query_start(text)
    if start is None:
        return Answer("", (), find_write(text) or find_write(before, declarations=True) or find_write(after))
    statements = _Statements(text[start:])
    first = next(statements, "")
    others = tuple(statements.others(first))
    writes = (
        find_write(before, declarations=True)
        or find_write(text[:start])
        or statements.write
        or find_write(text[start + statements.end :])
        or find_write(after)
    )
    return Answer(_strip_markdown(first), others, writes)


def _first_turn(text: str) -> str:
    """The text up to the end of the model's turn, or up to a next question that the model invents."""
    start = _statement_start(text)
    if start is None:
        return text
    # Only a few matches are checked, because the quotes before each are counted; the query is cut at the others later.
    for match in islice(_TURN_END.finditer(text, start), 20):
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if line.count("'") % 2 == 0 and line.count('"') % 2 == 0:
            return text[: match.start()]
    return text


def _unfence(text: str) -> tuple[str, str, str]:
    """The last fenced block with a statement, as (text before, block, text after); else ("", the whole text, "")."""
    blocks = list(_FENCE.finditer(text))
    for block in reversed(blocks):
        label, body = block.groups()
        # One-line fences have no label: the word after the backticks may be the query's first.
        body = f"{label} {body}" if label.upper() in ("SELECT", "WITH", "VALUES") else body
        if _statement_start(body) is not None:
            return text[: block.start()], body, text[block.end() :]
    if blocks:
        return "", text.replace("```", " "), ""
    if _first_match(_READ_STATEMENT, text) is None:
        for match in _INLINE_CODE.finditer(text):
            if _READ_STATEMENT.match(match.group(1)):
                return text[: match.start()], match.group(1), text[match.end() :]
    return "", text, ""


def _first_match(pattern: re.Pattern[str], text: str) -> int | None:
    """The position of the pattern's first match at the start of a statement."""
    return next((m.start() for m in pattern.finditer(text) if opens_statement(text, m.start())), None)


def _statement_start(text: str) -> int | None:
    start = _first_match(_READ_STATEMENT, text)
    return _first_match(_OTHER_STATEMENT, text) if start is None else start


def _query_start(text: str) -> int | None:
    """The position where the query starts, including its parentheses; None if there is none."""
    start = _statement_start(text)
    if start is None:
        match = _SELECT_ANYWHERE.search(text)
        if match is None:
            return None
        start = match.start()
    opening = len(text[:start].rstrip("( \t\r\n"))
    opening = text.find("(", opening, start)
    return opening if opening >= 0 and text.count("(") <= text.count(")") else start


class _Statements:
    """Iterates over the statements of a text that starts with one.

    Attributes:
        end: The position where the last statement ended.
        write: The start of the first of them that does more than read; empty if none does.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._index = 0
        self.end = 0
        self.write = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next statement; stops where something else follows."""
        tokens = self._tokens
        while self._index < len(tokens) and self._index and tokens[self._index].text == ";":
            self._index += 1
        if self._index >= len(tokens) or (self._index and not self._starts_query(self._index)):
            raise StopIteration
        first = self._index
        self._index = self._end_of(first)
        self.write = self.write or find_write_in_tokens(self._text, tokens[first : self._index])
        self.end = tokens[self._index].start if self._index < len(tokens) else len(self._text)
        if self._index < len(tokens) and tokens[self._index].text != ";" and not self._starts_query(self._index):
            # Prose or the end of the turn: the rest holds no query of the answer.
            self._tokens = tokens[: self._index]
        return self._text[tokens[first].start : self.end].strip()

    def others(self, first: str) -> Iterator[str]:
        """The remaining statements, except those that repeat the first."""
        words = _normalized_tokens(first)
        return (statement for statement in self if not _repeats(_normalized_tokens(statement), words))

    def _starts_query(self, index: int) -> bool:
        while index < len(self._tokens) and self._tokens[index].text == "(":
            index += 1
        return index < len(self._tokens) and self._tokens[index].keyword in ("SELECT", "WITH", "VALUES")

    def _end_of(self, first: int) -> int:
        """The index after the last token of the statement that starts at `first`."""
        text, tokens = self._text, self._tokens
        depth, open_cases, has_select = 0, 0, False
        for index in range(first, len(tokens)):
            token = tokens[index]
            open_cases += {"CASE": 1, "END": -1}.get(token.keyword, 0)
            if token.text == ";" or (token.text == ")" and depth == 0):
                return index
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if index == first:
                has_select = token.keyword != "WITH"
                continue
            if token.text == "<" and _TAG.match(text, token.start):
                return index
            if token.kind == "word" and _LABEL_WORDS.match(text, token.start):
                return index
            if self._is_after_statement(index, depth, has_select) or (open_cases < 0 and "\n" in self._gap(index)):
                return index
            has_select = has_select or (depth == 0 and token.keyword in ("SELECT", "VALUES"))
        return len(tokens)

    def _gap(self, index: int) -> str:
        """The white space and comments between a token and the previous one."""
        return self._text[self._tokens[index - 1].end : self._tokens[index].start]

    def _is_after_statement(self, index: int, depth: int, has_select: bool) -> bool:
        """Whether the token starts a line that no longer belongs to the statement."""
        text, token, previous = self._text, self._tokens[index], self._tokens[index - 1]
        gap = self._gap(index)
        if "\n" not in gap:
            return False
        end = text.find("\n", token.start)
        end = len(text) if end < 0 else end
        if _LABEL_LINE.match(text, token.start, end) or _RESULT_LINE.match(text, token.start, end):
            return True
        # The depth already counts the token itself.
        if depth == (token.text == "(") and _is_result(previous, token, text[token.start : token.start + 2]):
            return True
        if _RULE.search(gap) and token.keyword not in KEYWORDS:
            return True
        if token.keyword in ("SELECT", "VALUES", "WITH") and depth == 0 and has_select:
            return previous.keyword not in _BEFORE_SUBQUERY and previous.text not in _CONTINUATION_TOKENS
        if token.keyword in KEYWORDS:
            return bool(find_write(text[token.start : token.start + 300], opening=True))
        if _PROSE.match(text, token.start, end):
            return True
        if depth > 0 or previous.text in _CONTINUATION_TOKENS:
            return False
        # SQL never has three words in a row that are not keywords; a new paragraph with keywords may be a sentence too.
        words = self._tokens[index : index + 3]
        is_on_line = len(words) == 3 and words[-1].start < end
        if is_on_line and all(word.kind == "word" and word.keyword not in KEYWORDS for word in words):
            return True
        return "\n" in gap[gap.index("\n") + 1 :] and bool(_SENTENCE.match(text, token.start, end))


def _is_result(previous: Token, token: Token, opening: str) -> bool:
    """Whether a line starts like a query result in Python's or a shell's notation, and cannot continue the query."""
    if opening == "=>" or opening in ("[(", "[{", "[["):
        return True
    is_operand = previous.kind in ("number", "string") or previous.text == ")"
    return (
        token.kind == "number" and (is_operand or (previous.kind == "word" and previous.keyword not in KEYWORDS))
    ) or (is_operand and token.text in ("(", "{"))


def _normalized_tokens(statement: str) -> list[str]:
    return [token.text.lower() if token.kind == "word" else token.text for token in tokenize(statement)]


def _repeats(words: Sequence[str], first: Sequence[str]) -> bool:
    """Whether a statement repeats the first one, possibly cut off by the end of the answer."""
    last = len(words) - 1
    same = len(words) <= len(first) and words[:last] == first[:last]
    return same and first[last].startswith(words[last]) if words else True


def _strip_markdown(sql: str) -> str:
    """Strips an unpaired backtick or the asterisks of bold type from the end."""
    if sql.endswith("`") and sql.count("`") % 2:
        sql = sql[:-1].rstrip()
    return sql.removesuffix("**").rstrip()
