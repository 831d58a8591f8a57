"""Names of tables and columns as people say them in questions."""

from __future__ import annotations

import re

# Characters of a value that a question quotes.
MAX_QUOTED_CHARACTERS = 60
# Texts that a question and its patterns can hold.
_QUOTABLE = re.compile(r"[^\\\n\t{}\"]*")
# Abbreviations in names that stand for one word only.
_ABBREVIATIONS = {
    "acct": "account",
    "addr": "address",
    "amt": "amount",
    "avg": "average",
    "cred": "credit",
    "ctry": "country",
    "cust": "customer",
    "dept": "department",
    "descr": "description",
    "dob": "date of birth",
    "emp": "employee",
    "enr": "enrollment",
    "fname": "first name",
    "hr": "hour",
    "lang": "language",
    "lname": "last name",
    "loc": "location",
    "mgr": "manager",
    "nat": "nationality",
    "nbr": "number",
    "num": "number",
    "pct": "percentage",
    "pop": "population",
    "pos": "position",
    "prod": "product",
    "pts": "points",
    "qty": "quantity",
    "sal": "salary",
    "stu": "student",
    "tel": "telephone",
    "tot": "total",
    "univ": "university",
    "yr": "year",
}


def is_quotable(text: str) -> bool:
    """Whether a question, and the patterns that look for it, can hold a text."""
    return len(text) <= MAX_QUOTED_CHARACTERS and _QUOTABLE.fullmatch(text) is not None


def snake_case(name: str) -> str:
    """A name in small letters, its words separated by underscores."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\s\-.]+", "_", name).lower()


def spoken_name(name: str) -> str:
    """A name as people say it."""
    parts = (part for part in snake_case(name).split("_") if part and not part.startswith(("tbl", "dim", "fact")))
    spoken = " ".join(_ABBREVIATIONS.get(part, part) for part in parts)
    # "Number guests" is "number of guests"; a final "number" is an attribute, as in "room number".
    return re.sub(r"^number (?!of )", "number of ", spoken)


def is_sayable(spoken: str) -> bool:
    """Whether a name has a letter or digit, and nothing that a question or its patterns cannot hold."""
    has_word = any(character.isalnum() for character in spoken)
    return has_word and is_quotable(spoken)


def singular(noun: str) -> str:
    """A noun in the singular, by the endings of English."""
    *front, last = noun.split()
    if last.endswith("ies") and len(last) > 4:
        last = last[:-3] + "y"
    elif re.search(r"(?:ss|sh|ch|x|z)es$", last):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith(("ss", "us", "is", "ies")):
        last = last[:-1]
    return " ".join([*front, last])


def column_phrases(name: str, noun: str) -> tuple[str, ...]:
    """A column as people say it, without the table's name or its beginning in front."""
    spoken = spoken_name(name) or name
    short = spoken.removeprefix(f"{noun} ")
    if short != spoken and short:
        return (short, spoken)
    front, _, rest = snake_case(name).partition("_")
    repeats_table = rest and rest != "id" and noun.startswith(front)
    return (spoken_name(rest),) if repeats_table and spoken_name(rest) else (spoken,)


def with_article(phrase: str) -> str:
    """A phrase behind a or an."""
    return f"{'an' if phrase[:1] in 'aeiou' else 'a'} {phrase}"
