"""Warnings of the package."""

__all__ = ["SequenceDataWarning"]


class SequenceDataWarning(UserWarning):
    """X or y can be used, but they look as if something had gone wrong before.

    The message says what was seen, what it means and what to do.
    """
