"""The one place where whatever a reader or a fit raises on bytes of someone else becomes this visit's DataError.

Readers of files raise what their libraries do: KeyError on a header without a field, MemoryError on one with an absurd size, and so on;
which of them cannot be listed. A fault of this package's own code would be told in the same words, so the exception stays the cause,
whose traceback is in the run's manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from v50calib.errors import DataError, V50CalibError, no_cache

#: what is no fault of any bytes: a store or a network that does not answer, and is asked again
PASSING = (ConnectionError, TimeoutError)
#: characters of another library's message that are shown
SHOWN = 200

#: what exceptions mean whose own words are names, numbers or nothing
MEANING: tuple[tuple[type[Exception], str], ...] = (
    (FileNotFoundError, "there is no such file"),
    (IsADirectoryError, "a folder is in its place"),
    (NotADirectoryError, "a file is in the place of its folder"),
    (PermissionError, "it may not be read (permissions)"),
    (UnicodeError, "it is no UTF-8 text"),
    (KeyError, "an entry is missing"),
    (IndexError, "it has fewer entries than are needed"),
    (AttributeError, "an entry is of another kind than expected"),
    (TypeError, "an entry is of another kind than expected"),
    (RecursionError, "it is nested too deep"),
    (MemoryError, "it asks for more memory than there is"),
    (ZeroDivisionError, "a number that is divided by is 0"),
    (OverflowError, "a number is too large"),
    (EOFError, "it ends too early"),
)

#: what to do about bytes that are damaged, and about paths that are not there or closed
DAMAGED = "it is damaged or of another kind: get or write it again"
REMEDY: tuple[tuple[type[OSError], str], ...] = (
    (FileNotFoundError, "put it back, or get or write it again"),
    (PermissionError, "give the user of this command the right to read it"),
)


@contextmanager
def foreign(
    what: object,
    doing: str = "cannot be read",
    remedy: str = DAMAGED,
    *,
    kind: type[V50CalibError] = DataError,
    passing: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Around work on bytes of others: what it raises, except the package's own errors and `passing`, is raised as a `kind` that names
    `what`.

    >>> with foreign("dark.npy"):
    ...     {}["shape"]
    Traceback (most recent call last):
    v50calib.errors.DataError: dark.npy cannot be read: an entry is missing (KeyError: 'shape'); it is damaged or of another kind: get ...
    """
    ours: tuple[type[Exception], ...] = (V50CalibError, *PASSING, *passing)
    try:
        yield
    except ours:
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and no_cache(error) is not None:
            raise
        raise kind(f"{what} {doing}: {_place(error, what)}{told(error)}; {_remedy(error, remedy)}") from error


def _place(error: Exception, what: object) -> str:
    """The path that the operating system has named, where `what` does not."""
    name = getattr(error, "filename", None) if isinstance(error, OSError) else None
    return f"{name}: " if isinstance(name, str) and name and name not in str(what) else ""


def _remedy(error: Exception, remedy: str) -> str:
    """What to do; a path that is closed or gone is not called damaged."""
    return next((text for kind, text in REMEDY if isinstance(error, kind)), remedy) if remedy == DAMAGED else remedy


def told(error: Exception) -> str:
    """An exception of another library in words: what it means where its own text does not say it, and that text.

    >>> told(IndexError("tuple index out of range")), told(ValueError("cannot reshape array"))
    ('it has fewer entries than are needed (IndexError: tuple index out of range)', 'cannot reshape array')
    """
    words = " ".join(str(error).split())
    short = words if len(words) <= SHOWN else f"{words[:SHOWN]} …"
    meaning = next((text for kind, text in MEANING if isinstance(error, kind)), "")
    if isinstance(error, OSError) and error.errno is not None:
        return f"{meaning or error.strerror} ({error.strerror})" if meaning else str(error.strerror)
    if meaning:
        return f"{meaning} ({type(error).__name__}{f': {short}' if short else ''})"
    return short or type(error).__name__
