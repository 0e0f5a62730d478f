"""Wraps secret text so that no repr, str or format shows it."""

from __future__ import annotations

from hmac import compare_digest


class Secret:
    """Text that only ``reveal`` returns. Compares in constant time; refuses pickling."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Wrap ``text``."""
        self._text = text

    def reveal(self) -> str:
        """Return the text. Call this only where the text leaves for its destination."""
        return self._text

    def __repr__(self) -> str:
        """Return a mask."""
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Return a mask."""
        return "***"

    def __eq__(self, other: object) -> bool:
        """Compare the texts in constant time."""
        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # a secret is no key of a mapping

    def __bool__(self) -> bool:
        """False for the empty text."""
        return bool(self._text)

    def __reduce__(self) -> str:
        """Refuse to be pickled."""
        raise TypeError("a secret is not for storage")
