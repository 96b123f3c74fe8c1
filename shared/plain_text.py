"""Text from strangers, made harmless: a terminal obeys control characters, and a newline makes one line into two."""

import re

ESCAPES = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""Control characters but for tab and newline, and those that turn the direction of writing."""
OBEYED = re.compile(f"[{ESCAPES}]")
NOT_ON_A_LINE = re.compile(f"[{ESCAPES}\t\n\ud800-\udfff]")
"""Lone surrogates too, which no file and no terminal can be given."""


def plain(text: str) -> str:
    """`text` with `\\x1b` in the place of what a terminal would obey."""
    return OBEYED.sub(_letters, text)


def plain_line(text: str) -> str:
    """As `plain`, and all on one line."""
    return NOT_ON_A_LINE.sub(_letters, text)


def _letters(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
