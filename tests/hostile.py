"""Bytes, JSON and numbers as a stranger, a failing disk or a typing error makes them.

Whatever they are fed to has to work, or to fail with a sentence: see ``one_sentence``.
"""

import contextlib
import json
import re

from hypothesis import strategies as st

# What a person or a script may write after a flag that takes a number.
NUMBERS = (
    *("-1", "0", "1", "0.5", "-0.0", "1e-320", "1e308", "-1e308", "1e999", "nan"),
    *("inf", "-inf", "2147483648", "-9223372036854775809", "9223372036854775808"),
    *("18446744073709551616", "1" + 400 * "0", 5_000 * "9", "", " ", "text", "0x10"),
    *("1_000", "٣", "½", "1,5", "True", "None", "--", "10%", "\ud800", "a\nb"),
)
DEEP = {"<deep>": 40, "<deeper>": 700, "<deepest>": 9_999}  # lists in lists
VALUES = (
    *(None, True, False, 0, 1, -1, 7, 10**30, -(10**30), 10**400, 0.0, -0.5, 1e308),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "0", "nan", "../../x", "\0"),
    *("\x1b[2J", "<img src=x onerror=alert(1)>", "a|b\nc", "\ud800", "é" * 2_000),
    *([], {}, [[]], [None], {"": None}, [1, 2, 3], {"a": {"b": []}}, ["x"] * 300),
    *DEEP,
)


@st.composite
def damaged(draw, content):
    """The bytes with a few damages, each of a kind that happens to files."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from((1, 1, 2, 4, 8, 64, 1_000)))
        end = place + length
        kind = draw(st.sampled_from(KINDS))
        if kind == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "start":  # where formats keep what they are
            place = draw(st.integers(0, min(200, max(0, len(content) - 1))))
            content[place : place + 1] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "cut":
            del content[place:]
        elif kind == "remove":
            del content[place:end]
        elif kind == "insert":
            content[place:place] = draw(st.binary(max_size=16))
        elif kind == "repeat":
            content[place:place] = content[place:end]
        elif kind == "blank":
            filler = draw(st.sampled_from((b"\0", b"\xff", b" ")))
            content[place:end] = filler * len(content[place:end])
        elif kind == "other":
            content = bytearray(draw(st.binary(max_size=200)))
    return bytes(content)


KINDS = ("flip", "flip", "start", "start", "cut", "remove", "insert", "repeat")
KINDS += ("blank", "blank", "other")


@st.composite
def changed(draw, value):
    """A value made of dicts and lists in which a few entries are others, or missing."""
    for _ in range(draw(st.integers(1, 3))):
        places = list(paths(value))
        value = put(value, draw(st.sampled_from(places)), draw(odd_values()), draw)
    return value


def odd_values():
    """Something else than what was there."""
    return st.sampled_from(VALUES)


def as_json(value):
    """JSON as anybody may write it: NaN, halves of letters, as deep as they like."""
    text = json.dumps(value)
    for name, levels in DEEP.items():
        text = text.replace(f'"{name}"', levels * "[" + levels * "]")
    return text.encode()


def paths(value, path=(), depth=4):
    """Where the entries of nested dicts and lists are; () is the whole of it."""
    yield path
    if depth and isinstance(value, dict):
        for key in value:
            yield from paths(value[key], (*path, key), depth - 1)
    elif depth and isinstance(value, list | tuple):
        for index in range(min(3, len(value))):
            yield from paths(value[index], (*path, index), depth - 1)


def put(value, path, new, draw):
    """The value with another entry at a place, or without it, or with one more."""
    if not path:
        return new
    first, *rest = path
    copied = dict(value) if isinstance(value, dict) else list(value)
    kind = draw(st.sampled_from(("replace", "replace", "remove", "add")))
    if rest or kind == "replace":
        copied[first] = put(copied[first], rest, new, draw)
    elif kind == "remove":
        del copied[first]
    elif isinstance(copied, dict):
        copied["more"] = new
    else:
        copied.append(new)
    return copied


def is_sentence(text):
    """Whether a person can use it: one line of words, not just an error's code."""
    bare = re.match(r"\[Errno|'\w+' codec|Expecting |Extra data|\w+Error", text)
    return bool(text) and text.isprintable() and not bare and " " in text


@contextlib.contextmanager
def one_sentence(names=""):
    """Let what is within succeed, or raise an error that ends as one sentence.

    Args:
        names: what the sentence has to name.
    """
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        known = (ValueError, OSError, FloatingPointError)
        assert type(error) in known, f"{type(error)}: {error}"
        assert is_sentence(str(error)), repr(str(error))
        assert names in str(error), str(error)
