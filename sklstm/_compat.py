"""What the package takes from scikit-learn that is private, or that not every version has.

Everything private stands here, with the reason, so that one file changes with scikit-learn.
"""

from __future__ import annotations

from typing import Any

# The decorator of `fit` in scikit-learn's own estimators: it checks the parameters against
# `_parameter_constraints`. There is no public one.
from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import (
    # A parameter that is an object with certain methods.
    HasMethods,
    # A parameter value that is accepted, but that messages do not offer.
    Hidden,
    # A number between two bounds, with a message that names both.
    Interval,
    # A real number that is no integer: in a union with integers, it gives each its own bounds.
    RealNotInt,
    # One of several strings, with a message that lists them.
    StrOptions,
)

# Selects the training or test part of X and y, whatever they are: array, table, list, or the square
# kernel matrix of a pairwise estimator. `cross_validate` uses it.
from sklearn.utils.metaestimators import _safe_split as safe_split
from sklearn.utils.validation import (
    # Splits the parameters of `fit` that are as long as X, and leaves the others as they are.
    _check_method_params as check_method_params,
)
from sklearn.utils.validation import (
    # Checks weights with the messages of scikit-learn's own estimators.
    _check_sample_weight as check_sample_weight,
)

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before 1.9, which brought callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Return the method as it is."""
        return method


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Hidden",
    "Interval",
    "RealNotInt",
    "StrOptions",
    "check_method_params",
    "check_sample_weight",
    "fit_context",
    "has_callbacks",
    "safe_split",
    "with_callbacks",
]


def has_callbacks(estimator: Any) -> bool:
    """Tell whether callbacks of scikit-learn were set on an estimator, or on one around it."""
    return bool(getattr(estimator, "_skl_callbacks", None))
