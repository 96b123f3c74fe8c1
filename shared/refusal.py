"""What is wrong with a job file, as one sentence: the key as it is written, what would be right, the value."""

import difflib
import itertools
import re
from typing import Any

from pydantic import ValidationError

from shared import config
from shared.trainer_configs import TRAINER_CONFIGS

WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a section with keys of its own",
    "model_attributes_type": "a section with keys of its own",
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
}
"""Kinds of pydantic's errors -> what completes `KEY must be …`."""
SHOWN_CHARACTERS = 60
MAX_DEPTH = 3
"""Of lists in lists that an error shows."""
SHORT_NUMBER = re.compile(r"\d[\d_.]*\s*(?:e\+?\d+|[kmbg])", re.IGNORECASE)
"""`1e6`, `500k`, `1.5M`."""
HUGE = 10**SHOWN_CHARACTERS


def refusal(error: ValidationError) -> str:
    """The sentence for the first of the errors; a key that is not known comes before one that is missing for it."""
    found = error.errors(include_url=False, include_context=True)
    first = min(found, key=lambda one: one["type"] != "extra_forbidden")
    sentence = _sentence(first["type"], first["loc"], first["msg"], first.get("input"), first.get("ctx", {}))
    return " ".join(sentence.splitlines())


def nearest(word: str, known: list[str]) -> str | None:
    """The one of `known` that `word` may be a slip of the pen for."""
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def shown(value: object) -> str:
    """A value from YAML, as errors show it: its beginning alone, since a few anchors can stand for a page of text."""
    text = "nothing" if value is None else _begun(value, MAX_DEPTH)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _begun(value: object, depth: int) -> str:
    """`repr`, or as much of it as an error could show."""
    if isinstance(value, (list, dict)) and not depth:
        return "…"
    if isinstance(value, list):
        return f"[{', '.join(_begun(one, depth - 1) for one in value[:SHOWN_CHARACTERS])}]"
    if isinstance(value, dict):
        some = itertools.islice(value.items(), SHOWN_CHARACTERS)
        return "{" + ", ".join(f"{_begun(key, 0)}: {_begun(one, depth - 1)}" for key, one in some) + "}"
    if isinstance(value, int) and abs(value) >= HUGE:
        return "a number of very many digits"
    return repr(value[:SHOWN_CHARACTERS] if isinstance(value, (str, bytes)) else value)


def _sentence(kind: str, loc: tuple[int | str, ...], message: str, value: object, context: dict[str, Any]) -> str:
    key = _key(loc)
    if key == "registry" and isinstance(value, str) and "@" in value:
        value = f"…@{value.rpartition('@')[2]}"  # a password may stand before it
    if loc[:2] == ("corpus", "source") and kind == "value_error":
        return f"corpus.source {message.removeprefix('Value error, ')}"
    if loc[:2] == ("corpus", "source"):
        return f"corpus.source must be a path or a list of paths, got {shown(value)}"
    if kind == "extra_forbidden":
        return _unknown_key(loc)
    if kind == "missing":
        return f"{key} is missing"
    if kind == "value_error":
        return _own_message(key, message.removeprefix("Value error, "), value)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _architecture(key, _words(", ".join(TRAINER_CONFIGS)), value)
    if kind in ("too_short", "string_too_short"):
        return f"{key} must not be empty"
    wanted = _wanted(kind, key, context) or message
    return f"{key or 'the job file'} must be {wanted}, got {shown(value)}{_hint(kind, value)}"


def _wanted(kind: str, key: str, context: dict[str, Any]) -> str | None:
    if kind == "literal_error":
        return _words(context["expected"])
    if kind == "string_pattern_mismatch" and key == "registry":
        return "embedded, or a redis://, rediss:// or unix:// URL"
    if kind == "string_pattern_mismatch":
        return "at most 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit"
    return WANTED[kind].format(**context) if kind in WANTED else None


def _hint(kind: str, value: object) -> str:
    if kind == "string_type" and value is not None and not isinstance(value, (dict, list)):
        return "; put it in quotes"
    if kind == "int_parsing" and isinstance(value, str) and SHORT_NUMBER.fullmatch(value.strip()):
        return "; write all its digits, such as 1_000_000"
    return ""


def _unknown_key(loc: tuple[int | str, ...]) -> str:
    known = _known_keys(loc)
    near = nearest(str(loc[-1]), known)
    return f"unknown key {_key(loc)}; " + (f"did you mean {near}?" if near else f"known are {', '.join(known)}")


def _own_message(key: str, message: str, value: object) -> str:
    """A message of a validator of ours: `must be …` from a key's, `key must be …` from a section's."""
    if message.startswith("must "):
        return f"{key} {message}, got {shown(value)}"
    return f"{key}.{message}" if key else message


def _architecture(key: str, known: str, value: object) -> str:
    if not isinstance(value, dict):
        return f"{key} must be a section with keys of its own, got {shown(value)}"
    if "architecture" not in value:
        return f"{key}.architecture is missing; it must be {known}"
    return f"{key}.architecture must be {known}, got {shown(value['architecture'])}"


def _words(quoted: str) -> str:
    """`'a', 'b' or 'c'` as `a, b or c`, `'a', 'b'` as `a or b`."""
    words = quoted.replace("'", "").replace(" or ", ", ").split(", ")
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _key(loc: tuple[int | str, ...]) -> str:
    """`("trainers", 0, "topk", "k")` as `trainers[0].k`; pydantic's tag of the union is not part of the file."""
    parts = [part for place, part in enumerate(loc) if not (place == 2 and loc[0] == "trainers")]
    text = ""
    for place, part in enumerate(parts):
        text += f"[{part}]" if isinstance(part, int) and place else f"{'.' if text else ''}{_on_one_line(str(part))}"
    return text


def _on_one_line(key: str) -> str:
    """A key as errors show it: as it is, unless it holds what a terminal would act on."""
    return key if key.isprintable() else shown(key)


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the section of `loc` knows."""
    if len(loc) == 1:
        return list(config.Job.model_fields)
    if loc[0] == "trainers":
        return list(TRAINER_CONFIGS[str(loc[2])].model_fields)
    annotation = config.Job.model_fields[str(loc[0])].annotation
    if isinstance(annotation, type) and issubclass(annotation, config.Section):
        return list(annotation.model_fields)
    return []
