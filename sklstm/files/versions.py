"""Versions of the file format: what files of an older one mean by a name that they lack."""

from __future__ import annotations

from typing import Any

# Metadata key "version" of the files that this sklstm writes. Raise it with the first name that is
# introduced after a release, and write the files of that release into tests/data (write.py there).
FORMAT_VERSION = "2"

# For each version, the names that it introduced, each with what the files before it mean: what
# sklstm did then, which need not be today's default. Whoever adds a parameter adds its line here;
# one that `recipe_of_fit` writes into a recipe, too, has a second one there.
INTRODUCED: dict[str, dict[str, Any]] = {
    "1": {},
    "2": {
        "parameters": {},
        "recipe": {"scaled_steps": 0},
        "form": {},
    },
}


def completed(facts: dict[str, Any], version: str) -> dict[str, Any]:
    """Return the facts of a file with those that later versions of the format introduced.

    Parameters
    ----------
    facts : dict
        What the file says, whoever wrote it.

    version : str
        Its version of the format, a key of `INTRODUCED`.

    Returns
    -------
    dict
        The same facts, and what each later version gives those before it.
    """
    versions = list(INTRODUCED)
    for later in versions[versions.index(version) + 1 :]:
        facts = _filled(facts, INTRODUCED[later])
    return facts


def _filled(facts: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Add what is missing, at any depth; what is no mapping is left to the checks that follow."""
    filled = dict(facts)
    for name, default in defaults.items():
        found = filled.setdefault(name, default)
        if isinstance(default, dict) and isinstance(found, dict):
            filled[name] = _filled(found, default)
    return filled
