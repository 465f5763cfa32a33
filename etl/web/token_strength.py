"""Whether a token is hard to guess. Pure."""

from itertools import pairwise

MIN_LENGTH = 16
MIN_SURPRISES = 10
_ROWS = ("qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm", "yxcvbnm")
_NEIGHBOURS = {pair for row in _ROWS for pair in pairwise(row)}


def is_strong(token: str) -> bool:
    """Whether it is long, and not made of repetitions and sequences."""
    return len(token) >= MIN_LENGTH and surprises(token) >= MIN_SURPRISES


def surprises(token: str) -> int:
    """How many letters do not follow from those before: repeated, next in a row, said already."""
    text, found, place = token.lower(), 0, 0
    while place < len(text):
        repeated = _repeated(text, place)
        follows = place > 0 and _follows(text[place - 1], text[place])
        found += not (repeated or follows)
        place += max(repeated, 1)
    return found


def _follows(before: str, letter: str) -> bool:
    near = abs(ord(before) - ord(letter)) <= 1
    return near or bool({(before, letter), (letter, before)} & _NEIGHBOURS)


def _repeated(text: str, place: int) -> int:
    """The length of the longest piece from here on that was said before; 0 when below three."""
    length = 0
    while place + length < len(text) and text[place : place + length + 1] in text[: place + length]:
        length += 1
    return length if length >= 3 else 0
