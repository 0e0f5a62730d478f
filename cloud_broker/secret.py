"""A value that must not be shown: its repr, str and format are masks."""

from __future__ import annotations

from hmac import compare_digest


class Secret:
    """Text that only ``reveal`` hands out. Compares in constant time, cannot be pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Wrap ``text``."""
        self._text = text

    def reveal(self) -> str:
        """The text itself: call it where it leaves for its destination, nowhere else."""
        return self._text

    def __repr__(self) -> str:
        """A mask, whatever the value."""
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """A mask, whatever the value."""
        return "***"

    def __eq__(self, other: object) -> bool:
        """Equal texts, found in constant time."""
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
