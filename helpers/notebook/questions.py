"""Questions that a notebook asks: by environment variable, keyboard or default.

They need no widgets and work with IPython 7.34 (Colab) and newer.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from IPython.core.error import StdinNotImplementedError

from helpers import files


@dataclasses.dataclass(frozen=True)
class Choice:
    """One line of `choose`: the text shown, the value returned, the key to type."""

    label: str
    value: Any
    key: str


def ask(
    question: str,
    options: Mapping[str, str] | None,
    default: str,
    name: str,
    check: Callable[[str], Any] = str,
) -> Any:
    """Ask a question; *Run all* and notebooks without a keyboard work too.

    The environment variable `name` answers first, then the keyboard. An empty answer
    means the default, and so does a missing keyboard (nbval, papermill, nbconvert).
    Options and answer are printed, so that a saved notebook shows both.

    Args:
        question: the question, ending in a question mark.
        options: descriptions by value, or None for free text. Values are typed in
            upper or lower case, or as their number; "folder:" is completed by a path.
        default: the answer if nothing is typed; must be valid.
        name: environment variable that may hold the answer.
        check: converts the answer to the value returned, or raises ValueError.

    Raises:
        ValueError: if the environment variable or the default is not a valid answer.
    """
    values = list(options or {})
    lines = [f"{value}  {text}" for value, text in (options or {}).items()]

    def parse(typed: str) -> tuple[str, Any]:
        answer = typed if options is None else _match(typed, values)
        return answer, check(answer)

    return _answer(question, lines, default, name, parse)


def ask_number(
    question: str, default: int, name: str, minimum: int = 1, maximum: int | None = None
) -> int:
    """Ask for a whole number from `minimum` to `maximum`, both included; see `ask`."""
    span = f"{minimum} or more" + ("" if maximum is None else f", {maximum} at most")

    def check(typed: str) -> int:
        number = int(typed) if re.fullmatch(r"-?\d+", typed) else minimum - 1
        if number < minimum or (maximum is not None and number > maximum):
            raise ValueError(f"Type a whole number ({span}), not {typed!r}.")
        return number

    return ask(question, None, str(default), name, check)


def ask_labels(
    name: str = "STL_LABELS", check: Callable[[str | None], Any] = lambda labels: labels
) -> str | None:
    """Ask how many labels to keep, per class or as a share; None keeps all.

    ``check`` returns the answer, or raises ValueError for one that cannot be.
    """

    def parse(typed: str) -> str | None:
        if typed.lower() == "all":
            return check(None)
        if re.fullmatch(r"\d+|\d+(\.\d+)?\s*%", typed):
            return check(typed)
        raise ValueError(
            f"Type a number per class, a share such as 10%, or 'all', not {typed!r}."
        )

    return ask("How many labels (per class, or in %)?", None, "all", name, parse)


def choose(
    question: str,
    choices: Sequence[Choice],
    default: int,
    name: str,
    several: bool = False,
) -> Any:
    """Ask for one line of a numbered list and return its `value`.

    `default` is an index into `choices`; printed numbers start at 1. Keys are unique,
    and the environment variable `name` may hold a key or a printed number. Where
    `several` may be chosen, as in 1,3, the values are lists, which are joined.
    """
    keys = [choice.key for choice in choices]

    def parse(typed: str) -> tuple[str, Any]:
        if several and re.fullmatch(r"\d+([,;\s]+\d+)+", typed):
            numbers = dict.fromkeys(re.findall(r"\d+", typed))
            chosen = [choices[keys.index(_match(one, keys))] for one in numbers]
            single = next((one.label for one in chosen if not one.value), None)
            if single:
                raise ValueError(f"{single!r} can only be chosen alone.")
            joined = [value for one in chosen for value in one.value]
            return "; ".join(one.label for one in chosen), joined
        choice = choices[keys.index(_match(typed, keys))]
        return choice.label, choice.value

    lines = [choice.label for choice in choices]
    return _answer(question, lines, str(default + 1), name, parse)


def _answer(
    question: str, lines: list[str], default: str, name: str, parse: Callable
) -> Any:
    """Get and print a valid answer; `parse` returns the text to print and the value."""
    choices = "".join(f"  {n}. {line}\n" for n, line in enumerate(lines, start=1))
    print(choices, end="")
    preset = _unquoted(os.environ.get(name, ""))
    source = f"environment variable {name}" if preset else f"default of {question!r}"
    while True:
        try:
            typed = preset or _unquoted(input(f"{question} [{default}] "))
        except (EOFError, OSError, StdinNotImplementedError):  # there is no keyboard
            typed = ""
        try:
            shown, value = parse(typed or default)
        except (ValueError, OSError) as error:  # OSError: too long for a path
            if preset or not typed:
                raise ValueError(f"The {source} is wrong: {error}") from None
            print(f"{error}\n{choices}", end="")
        else:
            print(f"{question} -> {shown or 'nothing'}")
            return value


def _unquoted(typed: str) -> str:
    """What was typed, without quotes around it: some systems copy paths with them."""
    typed = typed.strip()
    quoted = re.fullmatch(r"""(["'])(.+)\1""", typed)
    return quoted[2].strip() if quoted else typed


def _match(typed: str, values: Sequence[str]) -> str:
    """Find the value that was typed, as its name, its number or a completed prefix."""
    known = {str(number): value for number, value in enumerate(values, start=1)}
    known |= {value.lower(): value for value in values}
    match = known.get(typed.lower(), ":")
    if match.endswith(":"):
        head, colon, rest = typed.partition(":")
        match = known.get(f"{head}{colon}".lower())
        if not (match and colon and rest.strip()):
            prefix = next((value for value in values if value.endswith(":")), "")
            if prefix and files.expand_home(typed).exists():
                raise ValueError(f"{typed!r} is a path: type {prefix}{typed}")
            known_answers = f"{', '.join(values)} (completed after a colon) or a number"
            raise ValueError(
                f"{typed!r} is not one of the answers: type {known_answers}."
            )
        match += _unquoted(rest)
    return match
