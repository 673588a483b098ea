"""What is wrong with an override that cannot be read, in a user's words: the parser's own are about its tokens."""

from __future__ import annotations

import re

_KEY = re.compile(r"(\+\+|\+|~)?[A-Za-z_][\w./:-]*(@[\w.:]*)?", re.ASCII)
_PAIRS = {"]": "[", "}": "{", ")": "("}


def fault_of(text: str) -> str:
    """Why an override cannot be read.

    >>> fault_of("calib.phase.binning.nbins")
    "it has no '='"
    >>> fault_of("calib.dark.region=[1,2]]")
    "a ']' closes nothing"
    """
    key, equals, value = text.partition("=")
    if text.startswith("-"):
        return "an option is not an override, and this one is not known"
    if not equals:
        return "it has no '='"
    if not _KEY.fullmatch(key) or ".." in key or key.endswith("."):
        return f"'{key}' is no key: names of letters, digits and '_' with dots between"
    return _unbalanced(value) or _in_value(value)


def _unbalanced(value: str) -> str:
    """The quote or bracket that has no partner; empty if all have one."""
    opened: list[str] = []
    quote = ""
    for before, sign in zip(" " + value, value, strict=False):
        if quote:
            quote = "" if sign == quote and before != "\\" else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "[{(":
            opened.append(sign)
        elif sign in _PAIRS and (not opened or opened.pop() != _PAIRS[sign]):
            return f"a '{sign}' closes nothing"
    if quote:
        return f"a quote {quote} is not closed"
    return f"a '{opened[-1]}' is not closed" if opened else ""


def _in_value(value: str) -> str:
    if "=" in value:
        return "its value has a '=' outside quotes"
    if re.fullmatch(r"\s*\w+\(.*\)\s*", value):
        return f"'{value}' is read as a function of Hydra, and that cannot take what is given"
    return "its value has a sign outside quotes that has a meaning of its own"


def not_composed(reason: str) -> str:
    """Hydra's reason why an override does not fit the profile, in a user's words where its own are about its code.

    >>> not_composed("Error merging override ++calib.dark=[1]")
    'calib.dark=[1] puts a list, a section of keys or a single value where the profile has another of them'
    """
    merging = re.match(r"Error merging override \+*(.*)", reason)
    if merging:
        return f"{merging[1]} puts a list, a section of keys or a single value where the profile has another of them"
    return reason
