"""Finds the SQL in what a language model wrote.

The rule, in order:

1. Reasoning between ``<think>`` tags is dropped, and so is all that follows the end of the model's turn: a marker such
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

from text2sql.sql.statements import KEYWORDS, opens_statement, write_in_text, write_in_tokens
from text2sql.sql.tokens import Token, tokenize

_THINK = re.compile(r"<think>.*?(?:</think>|\Z)|\A.*?</think>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"(?:```|~~~)[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?\n?(.*?)(?:```|~~~|\Z)", re.DOTALL)
_INLINE_CODE = re.compile(r"`([^`\n]+)`")
_LABEL = re.compile(r"\s*(?:(?:sql(?:ite)?(?:\s+query)?|query|answer|output|result)\s*[:=]\s*|sql(?:ite)?\s*\n)", re.I)

# What ends a turn in the templates of common models. Some are plain words in the text of a base model.
_MARKER = r"<\|\w+\|>|</?s>|<(?:eos|end_of_turn|start_of_turn)>|\[/?INST\]"
_TURN_END = re.compile(
    _MARKER + r"|^[ \t]*(?:#+[ \t]*|\*\*)?(?:question|user|human|instruction|schema|context|input|problem|task)s?"
    r"(?:[ \t]*\d+)?(?:\*\*)?(?::|(?<=\w)[ \t]*$)",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(_MARKER + r"|</[A-Za-z]\w*>", re.IGNORECASE)

_READ = re.compile(
    r"\b(?:(?:SELECT|VALUES)\b(?!\s*[,.:])|WITH\s+(?:RECURSIVE\s+)?[\w\"`\[\]]+\s*(?:\([^()]*\)\s*)?AS\s*(?:NOT\s+)?"
    r"(?:MATERIALIZED\s*)?\()",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"\b(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM"
    r"|(?:DROP|ALTER|CREATE)\s+(?:TEMP\s+|TEMPORARY\s+|UNIQUE\s+|VIRTUAL\s+)?(?:TABLE|VIEW|INDEX|TRIGGER|DATABASE)"
    r"|TRUNCATE|ATTACH|DETACH|PRAGMA|VACUUM|REINDEX|ANALYZE|EXPLAIN|BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE"
    r"|GRANT|REVOKE|MERGE\s+INTO)\b",
    re.IGNORECASE,
)
_ANYWHERE = re.compile(r"\bSELECT\b\s++(?!statement|query|clause)", re.IGNORECASE)

# A line of prose by its first words, whatever follows.
_PROSE = re.compile(
    r"#+\s|\*\*|explanation\b|notes?\b|this\s+(?:query|sql|statement|will|returns|selects)|the\s+(?:query|above|result)"
    r"|here(?:'s|\s+is|\s+are)\b|it\s+(?:returns|selects|will)|in\s+this\s+query|let\s+me|i\s+(?:have|used|hope)"
    r"|(?:output|results?|examples?)\s*$|<\|?\w|</\w|\[/?\w+\]",
    re.IGNORECASE,
)
# SQLite has a colon only in front of the name of a parameter, never behind a word.
_LABEL_LINE = re.compile(r"[A-Za-z][\w ()'/&-]{0,60}(?<=[\w)]):(?=[\s*]|\Z)")
_LABEL_WORDS = re.compile(
    r"(?:(?:expected|sample|example|query)\s+)?"
    r"(?:outputs?|results?|answer|explanation|examples?|notes?|question|response|input|sql)\s?:(?=\s|\Z)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[A-Z][\w']*(?:\s+[\w'`\",]+){2,}")
_RESULT_LINE = re.compile(r"\|.*\|\s*\Z|\+[-=+]{3,}")
_RULE = re.compile(r"^-{3,}[ \t]*$", re.MULTILINE)
# What a query that goes on may have at the end of a line.
_OPEN_ENDS = frozenset([",", "=", "<", ">", "+", "-", "*", "/", "(", "||", "<>", "!=", "<=", ">="])
_JOINS_QUERIES = frozenset(["UNION", "ALL", "EXCEPT", "INTERSECT", "AS", "EXISTS", "IN", "MATERIALIZED"])


@dataclass(frozen=True)
class Answer:
    """What a model's answer holds.

    Attributes:
        sql: The query that it stands for, without its semicolon; empty if there is none.
        others: The queries that follow it and do not repeat it.
        writes: The beginning of a statement that does more than read, wherever it stands; empty if there is none.
    """

    sql: str
    others: tuple[str, ...] = ()
    writes: str = ""


def extract_sql(text: str) -> str:
    """Returns the one query that a model's answer stands for, by the rule in this module's docstring.

    Args:
        text: The raw text of the answer.

    Returns:
        The query without its semicolon, or the empty string. Never fails.
    """
    return read_answer(text).sql


# The evaluator and what describes its verdict ask about the same answer one after the other.
@lru_cache(maxsize=4)
def read_answer(text: str) -> Answer:
    """Reads a model's answer by the rule in this module's docstring; never fails."""
    text = _THINK.sub(" ", text.replace("\x00", " ").replace("\ufeff", "")).strip()
    if not text:
        return Answer("")
    before, text, after = _unfence(_first_turn(text))
    label = _LABEL.match(text)
    text = text[label.end() :] if label else text
    start = _begin(text)
    if start is None:
        return Answer("", (), write_in_text(text) or write_in_text(before, declarations=True) or write_in_text(after))
    statements = _Statements(text[start:])
    first = next(statements, "")
    others = tuple(statements.others(first))
    writes = (
        write_in_text(before, declarations=True)
        or write_in_text(text[:start])
        or statements.write
        or write_in_text(text[start + statements.end :])
        or write_in_text(after)
    )
    return Answer(_tidied(first), others, writes)


def _first_turn(text: str) -> str:
    """The text up to where the model's turn ends, or where it makes up the next question."""
    start = _start_of(text)
    if start is None:
        return text
    # Only a few are looked at, because the quotes before each are counted: the query itself is cut at them later.
    for match in islice(_TURN_END.finditer(text, start), 20):
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if line.count("'") % 2 == 0 and line.count('"') % 2 == 0:
            return text[: match.start()]
    return text


def _unfence(text: str) -> tuple[str, str, str]:
    """The last fenced block that holds a statement, with what stands before and behind it; else all of the text."""
    blocks = list(_FENCE.finditer(text))
    for block in reversed(blocks):
        label, body = block.groups()
        # One-line fences have no label: the word after the backticks may be the query's first.
        body = f"{label} {body}" if label.upper() in ("SELECT", "WITH", "VALUES") else body
        if _start_of(body) is not None:
            return text[: block.start()], body, text[block.end() :]
    if blocks:
        return "", text.replace("```", " "), ""
    if _first(_READ, text) is None:
        for match in _INLINE_CODE.finditer(text):
            if _READ.match(match.group(1)):
                return text[: match.start()], match.group(1), text[match.end() :]
    return "", text, ""


def _first(pattern: re.Pattern[str], text: str) -> int | None:
    """Where the pattern is found first at the start of a statement."""
    return next((m.start() for m in pattern.finditer(text) if opens_statement(text, m.start())), None)


def _start_of(text: str) -> int | None:
    start = _first(_READ, text)
    return _first(_OTHER, text) if start is None else start


def _begin(text: str) -> int | None:
    """Where the query begins, with the parentheses around it; None if there is none."""
    start = _start_of(text)
    if start is None:
        match = _ANYWHERE.search(text)
        if match is None:
            return None
        start = match.start()
    opening = len(text[:start].rstrip("( \t\r\n"))
    opening = text.find("(", opening, start)
    return opening if opening >= 0 and text.count("(") <= text.count(")") else start


class _Statements:
    """Cuts a text that begins with a statement into that and the queries that follow it.

    Attributes:
        end: Where the last statement ended.
        write: The beginning of a statement among them that does more than read.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._at = 0
        self.end = 0
        self.write = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next statement; none where something else follows."""
        tokens = self._tokens
        while self._at < len(tokens) and self._at and tokens[self._at].text == ";":
            self._at += 1
        if self._at >= len(tokens) or (self._at and not self._reads(self._at)):
            raise StopIteration
        begun = self._at
        self._at = self._end_of(begun)
        self.write = self.write or write_in_tokens(self._text, tokens[begun : self._at])
        self.end = tokens[self._at].start if self._at < len(tokens) else len(self._text)
        if self._at < len(tokens) and tokens[self._at].text != ";" and not self._reads(self._at):
            # Prose or the end of the turn: what follows is no part of the answer's queries.
            self._tokens = tokens[: self._at]
        return self._text[tokens[begun].start : self.end].strip()

    def others(self, first: str) -> Iterator[str]:
        """The statements that are left, but those that repeat the first."""
        words = _words(first)
        return (statement for statement in self if not _repeats(_words(statement), words))

    def _reads(self, index: int) -> bool:
        while index < len(self._tokens) and self._tokens[index].text == "(":
            index += 1
        return index < len(self._tokens) and self._tokens[index].keyword in ("SELECT", "WITH", "VALUES")

    def _end_of(self, begun: int) -> int:
        """The index of the token before which the statement that begins there ends."""
        text, tokens = self._text, self._tokens
        depth, cases, selected = 0, 0, False
        for index in range(begun, len(tokens)):
            token = tokens[index]
            cases += {"CASE": 1, "END": -1}.get(token.keyword, 0)
            if token.text == ";" or (token.text == ")" and depth == 0):
                return index
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if index == begun:
                selected = token.keyword != "WITH"
                continue
            if token.text == "<" and _TAG.match(text, token.start):
                return index
            if token.kind == "word" and _LABEL_WORDS.match(text, token.start):
                return index
            if self._line_ends(index, depth, selected) or (cases < 0 and "\n" in self._gap(index)):
                return index
            selected = selected or (depth == 0 and token.keyword in ("SELECT", "VALUES"))
        return len(tokens)

    def _gap(self, index: int) -> str:
        """What stands between a token and the one before it: white space and comments."""
        return self._text[self._tokens[index - 1].end : self._tokens[index].start]

    def _line_ends(self, index: int, depth: int, selected: bool) -> bool:
        """Whether the token opens a line that is no longer part of the statement."""
        text, token, before = self._text, self._tokens[index], self._tokens[index - 1]
        gap = self._gap(index)
        if "\n" not in gap:
            return False
        end = text.find("\n", token.start)
        end = len(text) if end < 0 else end
        if _LABEL_LINE.match(text, token.start, end) or _RESULT_LINE.match(text, token.start, end):
            return True
        # The parenthesis itself has been counted.
        if depth == (token.text == "(") and _is_result(before, token, text[token.start : token.start + 2]):
            return True
        if _RULE.search(gap) and token.keyword not in KEYWORDS:
            return True
        if token.keyword in ("SELECT", "VALUES", "WITH") and depth == 0 and selected:
            return before.keyword not in _JOINS_QUERIES and before.text not in _OPEN_ENDS
        if token.keyword in KEYWORDS:
            return bool(write_in_text(text[token.start : token.start + 300], opening=True))
        if _PROSE.match(text, token.start, end):
            return True
        if depth > 0 or before.text in _OPEN_ENDS:
            return False
        # SQL has no three plain words in a row, but for a new paragraph that is a sentence keywords are words as well.
        plain = self._tokens[index : index + 3]
        in_line = len(plain) == 3 and plain[-1].start < end
        if in_line and all(word.kind == "word" and word.keyword not in KEYWORDS for word in plain):
            return True
        return "\n" in gap[gap.index("\n") + 1 :] and bool(_SENTENCE.match(text, token.start, end))


def _is_result(before: Token, token: Token, opening: str) -> bool:
    """Whether a line begins as a result does in Python's or a shell's notation, where a query cannot go on so."""
    if opening == "=>" or opening in ("[(", "[{", "[["):
        return True
    ended = before.kind in ("number", "string") or before.text == ")"
    return (token.kind == "number" and (ended or (before.kind == "word" and before.keyword not in KEYWORDS))) or (
        ended and token.text in ("(", "{")
    )


def _words(statement: str) -> list[str]:
    return [token.text.lower() if token.kind == "word" else token.text for token in tokenize(statement)]


def _repeats(words: Sequence[str], first: Sequence[str]) -> bool:
    """Whether a statement is the first one again, be it that the end of the answer cut it off."""
    last = len(words) - 1
    same = len(words) <= len(first) and words[:last] == first[:last]
    return same and first[last].startswith(words[last]) if words else True


def _tidied(sql: str) -> str:
    """Without a lone backtick or the asterisks of bold type on the end; a backtick that closes a name stays."""
    if sql.endswith("`") and sql.count("`") % 2:
        sql = sql[:-1].rstrip()
    return sql.removesuffix("**").rstrip()
