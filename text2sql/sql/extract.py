"""Finds the SQL in what a language model wrote.

The rule, in order:

1. Reasoning between ``<think>`` tags is dropped. If there are markdown fences, the last fenced block that contains a
   query is the text; a fence that never closes runs to the end. Inline code in single backticks counts only if
   nothing outside it begins a query.
2. The query begins at the first ``SELECT``, ``WITH`` or ``VALUES`` that starts a statement: at the beginning of the
   text or of a line, after a colon, semicolon or opening parenthesis that starts a line. Failing that, at the first
   word that starts a statement of any other kind (so that ``DROP TABLE`` is seen, and refused, not overlooked).
   Failing that, at the first ``SELECT`` anywhere.
3. It ends at the first semicolon outside quotes, at a closing fence, or before a paragraph or line of prose. What
   follows is dropped, other statements included.
4. An unfinished query is returned as far as it goes; a text without SQL gives the empty string.
"""

from __future__ import annotations

import re

from text2sql.sql.tokens import Token, tokenize

_THINK = re.compile(r"<think>.*?(?:</think>|\Z)|\A.*?</think>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"(?:```|~~~)[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?\n?(.*?)(?:```|~~~|\Z)", re.DOTALL)
_QUERY_START = re.compile(
    r"(?:\A|[\n;:>])[\s>*]*(?:\d+[.)]\s*)?(?:\(\s*)*(?:\*\*\s*)?"
    r"(?P<query>(?:SELECT|VALUES)\b(?!\s*[,.:])|WITH\s+(?:RECURSIVE\s+)?[\w\"`\[\]]+\s*(?:\([^()]*\)\s*)?AS\s*(?:NOT\s+)?"
    r"(?:MATERIALIZED\s*)?\()",
    re.IGNORECASE,
)
_OTHER_START = re.compile(
    r"(?:\A|[\n;:])\s*(?P<query>(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM"
    r"|(?:DROP|ALTER|CREATE)\s+(?:TEMP\s+|TEMPORARY\s+|UNIQUE\s+|VIRTUAL\s+)?(?:TABLE|VIEW|INDEX|TRIGGER|DATABASE)"
    r"|TRUNCATE|ATTACH|DETACH|PRAGMA|VACUUM|REINDEX|ANALYZE|EXPLAIN|BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE"
    r"|GRANT|REVOKE|MERGE\s+INTO)\b)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"\A\s*(?:sql(?:ite)?(?:\s+query)?|query|answer|output|result)\s*[:=]\s*|\A\s*sql(?:ite)?\s*\n", re.I
)
# Words a line of a query may begin with; a line that begins otherwise and reads like a sentence is prose.
_CLAUSE_WORDS = frozenset(
    [
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP",
        "ORDER",
        "HAVING",
        "LIMIT",
        "OFFSET",
        "JOIN",
        "INNER",
        "LEFT",
        "RIGHT",
        "FULL",
        "CROSS",
        "NATURAL",
        "ON",
        "USING",
        "AND",
        "OR",
        "NOT",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "WITH",
        "AS",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "IN",
        "BETWEEN",
        "LIKE",
        "IS",
        "EXISTS",
        "WINDOW",
        "VALUES",
        "ASC",
        "DESC",
    ]
)
_PROSE_START = re.compile(
    r"\A\s*(?:#+\s|\*\*|explanation\b|note\b|notes\b|this\s+(?:query|sql|statement|will|returns|selects)|the\s+(?:query|above|result)"
    r"|here(?:'s|\s+is|\s+are)\b|it\s+(?:returns|selects|will)|in\s+this\s+query|let\s+me|i\s+(?:have|used|hope)|where\s*:"
    r"|question\s*:|answer\s*:|schema\s*:|context\s*:|<\|?\w|<[/]\w|\[/?\w+\])",
    re.IGNORECASE,
)


def extract_sql(text: str) -> str:
    """Returns the one query that a model's answer stands for, by the rule in this module's docstring.

    Args:
        text: The raw text of the answer.

    Returns:
        The query without its semicolon, or the empty string. Never fails.
    """
    text = _THINK.sub(" ", text.replace("\x00", " ").replace("\ufeff", "")).strip()
    if not text:
        return ""
    return _cut(_begin(_unfence(text)))


def _unfence(text: str) -> str:
    """The last fenced block that holds a statement; the text itself if none does."""
    blocks = [(match.group(1), match.group(2)) for match in _FENCE.finditer(text)]
    chosen = ""
    for label, body in blocks:
        # One-line fences have no label: the word after the backticks may be the query's first.
        body = f"{label} {body}" if label.upper() in ("SELECT", "WITH", "VALUES") else body
        if _start_of(body) is not None:
            chosen = body
    if chosen:
        return chosen
    if not blocks and _QUERY_START.search(text) is None:
        inline = [body for body in re.findall(r"`([^`\n]+)`", text) if _QUERY_START.match(body)]
        if inline:
            return str(inline[0])
    return text.replace("```", " ") if blocks else text


def _start_of(text: str) -> int | None:
    match = _QUERY_START.search(text) or _OTHER_START.search(text)
    return match.start("query") if match else None


def _without_comments(text: str) -> str:
    """Drops comments before the first other token, so that they cannot hide where a statement starts."""
    tokens = tokenize(text, comments=True)
    first = next((t for t in tokens if t.kind != "comment"), None)
    return text[first.start :] if first and tokens[0].kind == "comment" else text


def _begin(text: str) -> str:
    """Cuts what stands before the query."""
    text = _without_comments(_LABEL.sub("", text, count=1))
    start = _start_of(text)
    if start is None:
        match = re.search(r"\bSELECT\b\s+(?!statement|query|clause)", text, re.IGNORECASE)
        if match is None:
            # A bare parenthesised query, or the beginning of a word: let SQLite complain about it.
            return text if re.match(r"\A\s*[(A-Za-z]\S*\Z", text) and text.upper() in ("SELECT", "WITH") else ""
        start = match.start()
    opening = re.search(r"(?:\(\s*)+\Z", text[:start])
    return text[opening.start() :] if opening and text.count("(") <= text.count(")") else text[start:]


def _cut(text: str) -> str:
    """Cuts what stands behind the query."""
    tokens = tokenize(text)
    end = len(text)
    depth = 0
    for index, token in enumerate(tokens):
        if token.text == ";" or (token.text == ")" and depth == 0):
            end = token.start
            break
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if index and _prose_begins(text, tokens, index, depth):
            end = token.start
            break
    found = text[:end].strip()
    # A lone backtick or asterisks of bold type may hang on the end; a backtick that closes a name stays.
    if found.endswith("`") and found.count("`") % 2:
        found = found[:-1]
    return re.sub(r"\s*\*\*\Z", "", found).strip()


def _prose_begins(text: str, tokens: list[Token], index: int, depth: int) -> bool:
    """Whether the token opens a line that is no longer part of the query."""
    gap = text[tokens[index - 1].end : tokens[index].start]
    if "\n" not in gap:
        return False
    rest = text[tokens[index].start :]
    line = rest.split("\n", 1)[0]
    if _PROSE_START.match(line):
        return not (tokens[index].keyword in _CLAUSE_WORDS and not re.match(r"(?i)where\s*:", line))
    if not re.search(r"\n\s*\n", gap) or tokens[index].keyword in _CLAUSE_WORDS or depth > 0:
        return False
    # A new paragraph that starts with a capital and several plain words is a sentence, unless a comma or an operator
    # in front of it says that the query goes on.
    return tokens[index - 1].text not in (",", "=", "<", ">", "+", "-", "*", "/") and bool(
        re.match(r"\A[A-Z][\w']*(?:\s+[\w'`\",]+){2,}", line)
    )
