"""Every accepted X to one internal form, `Sequences`, or an error that names the place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .array_likes import as_tables, check_real, list_of_arrays, n_dims, naming, opened
from .sequences import BLOCK_BYTES, Sequences, releasing, slices

# Larger numbers are infinite in float32, in which the network computes.
LARGEST = float(np.finfo(np.float32).max)
# Kinds of X, and what errors call them.
KINDS = {
    "rows": "2-D",
    "steps": "3-D or a list of 2-D arrays",
    "series": "a list of 1-D arrays",
}


@dataclass(frozen=True)
class InputForm:
    """What X looked like in the first fit; later X must go with it."""

    kind: str  # one of `KINDS`
    n_features_in: int  # columns of 2-D X, features at each step of any other


def read_inputs(
    X: Any, *, n_timesteps: int | None = None, form: InputForm | None = None
) -> tuple[Sequences, InputForm]:
    """Read X, check that all values are finite in float32, and leave out missing steps.

    Parameters
    ----------
    X : array-like, PackedSequence or list of array-like
        Of shape (n_samples, n_columns) or (n_samples, n_timesteps, n_features), or sequences of
        shape (n_timesteps,) or (n_timesteps, n_features). An array is not copied.

    n_timesteps : int or None
        Steps in a row of 2-D X. `None` reads each column as a step of one feature.

    form : InputForm or None
        The form of the first fit, or `None` in the first fit. The number of columns of 2-D X is
        not compared with it: scikit-learn does that, in its own words.

    Returns
    -------
    sequences : Sequences
        In the dtype of X.

    form : InputForm
        That of the first fit.
    """
    if not is_plain(X, 2, 3):
        X = opened(X, "X")
        arrays = list_of_arrays(X, "X")
        if arrays is not None:
            kind = "series" if all(array.ndim == 1 for array in arrays) else "steps"
            in_rows = n_timesteps is not None or (form is not None and form.kind == "rows")
            if kind == "steps" or not in_rows:
                tables = as_tables(arrays, "X")
                form = _same_form(InputForm(kind, tables[0].shape[1]), form, None)
                numbered = ((slice(i, i + 1), t[np.newaxis]) for i, t in enumerate(tables))
                return _without_missing(Sequences.joined(tables), numbered), form
            X = _stacked(arrays)
        if not is_plain(X, 2, 3):
            X = _as_array(X, form)
    if X.ndim == 3:
        form = _same_form(InputForm("steps", X.shape[2]), form, X.shape)
        sequences = Sequences.equal(X)
        return _without_missing(sequences, ((i, X[i]) for i in sequences.blocks())), form
    n_samples, n_columns = X.shape
    form = _same_form(InputForm("rows", n_columns), form, X.shape)
    if n_columns % (n_timesteps or 1):
        raise ValueError(
            f"X has {n_columns} columns, which n_timesteps={n_timesteps} does not divide."
        )
    check_finite(X, "X")
    n_steps = n_timesteps or n_columns
    return Sequences.equal(X.reshape(n_samples, n_steps, n_columns // n_steps)), form


def check_finite(values: NDArray[Any], name: str, *, allow_nan: bool = False) -> None:
    """Refuse numbers that are not finite in float32, but for NaN if that is allowed."""
    for block in releasing(values, slices(len(values), BLOCK_BYTES // (8 * values[0].size))):
        chunk = values[block]
        if not _in_range(chunk):
            bad = ~(np.abs(chunk.astype(np.float64)) <= LARGEST)
            _raise_at(bad & ~np.isnan(chunk) if allow_nan else bad, chunk, block.start, name)


def is_plain(values: Any, *n_axes: int) -> bool:
    """Whether it is a numpy array of numbers, of so many axes, that needs no conversion."""
    if type(values) not in (np.ndarray, np.memmap) or values.dtype.kind not in "biuf":
        return False
    return values.ndim in n_axes and values.size > 0


def _as_array(X: Any, form: InputForm | None) -> NDArray[Any]:
    """Make an array of what is neither a plain array nor a list, as scikit-learn does."""
    n_axes, in_rows = n_dims(X), form is None or form.kind == "rows"
    if n_axes == 0:
        raise ValueError(
            f"X must be an array or a list of sequences, got a scalar: {type(X).__name__}."
        )
    if n_axes > 3:
        raise ValueError(
            f"X has {n_axes} dimensions, shape {np.shape(X)}; expected 3: (n_samples, "
            "n_timesteps, n_features), or 2: (n_samples, n_columns)."
        )
    if n_axes == 1 and form is None:
        raise ValueError(
            f"Expected 2D array, got 1D array instead: X has shape {np.shape(X)}. One sequence is "
            f"np.reshape(X, (1, {np.shape(X)[0]}, 1)). A series to learn from is a column, "
            "np.reshape(X, (-1, 1)), of which LagWindows makes windows."
        )
    if n_axes == 1 and form is not None and not in_rows:
        raise ValueError(
            f"X has shape {np.shape(X)}, but the model was fitted with sequences: expected shape "
            f"(n_samples, n_timesteps, {form.n_features_in}), or a list of sequences."
            f"{_how_to_make_3d(np.shape(X), form)}"
        )
    with naming("X"):
        array: NDArray[Any] = check_array(
            X,
            allow_nd=True,
            ensure_2d=n_axes != 3 and in_rows,
            ensure_all_finite=False,
            estimator="StackedLSTMRegressor",
            input_name="X",
        )
    if array.ndim != n_axes or 0 in array.shape:
        raise ValueError(
            f"X has shape {array.shape}; (n_samples, n_timesteps, n_features) must each be at "
            "least 1."
        )
    check_real(array, "X")
    return array


def _stacked(rows: list[NDArray[Any]]) -> NDArray[Any]:
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"X[{i}] has {len(row)} columns, X[0] has {len(rows[0])}; rows of 2-D X must be "
                "of equal length."
            )
    return np.stack(rows)


def _same_form(
    found: InputForm, form: InputForm | None, shape: tuple[int, ...] | None
) -> InputForm:
    """Return the form of the first fit, or refuse X of another one.

    What was fitted with a list of 1-D arrays takes 2-D and 3-D X, too.
    """
    if form is None:
        return found
    if (found.kind == "rows") != (form.kind == "rows") and form.kind != "series":
        advice = ""
        if found.kind == "rows" and shape is not None:
            advice = f" X has shape {shape}.{_how_to_make_3d(shape, form)}"
        raise ValueError(
            f"X is {KINDS[found.kind]}, but the model was fitted with X that is "
            f"{KINDS[form.kind]}.{advice}"
        )
    if found.kind != "rows" and found.n_features_in != form.n_features_in:
        raise ValueError(
            f"X has {found.n_features_in} features at each step, but the model was fitted with "
            f"{form.n_features_in} features."
        )
    return form


def _how_to_make_3d(shape: tuple[int, ...], form: InputForm) -> str:
    """Show how one sequence, or rows of flattened ones, become 3-D X; nothing if they cannot."""
    *n_samples, n_columns = shape
    if n_samples and n_columns == form.n_features_in:
        wanted = (1, *shape)
    elif n_columns and n_columns % form.n_features_in == 0:
        wanted = (*(n_samples or [1]), n_columns // form.n_features_in, form.n_features_in)
    else:
        return ""
    what = "One sequence is" if wanted[0] == 1 else f"{wanted[0]} sequences are"
    return f" {what} np.reshape(X, {wanted})."


def _without_missing(
    sequences: Sequences, parts: Iterable[tuple[slice, NDArray[Any]]]
) -> Sequences:
    """Leave out the steps at both ends of each sequence at which all features are NaN.

    Parts are numbers of sequences and their values, shape (n_samples, n_timesteps, n_features).
    Steps between the ends must be finite.
    """
    leading = lengths = None
    for part, values in parts:
        if _in_range(values):
            continue
        if leading is None or lengths is None:
            leading, lengths = sequences.leading.copy(), sequences.spans.copy()
        n_steps = values.shape[1]
        present = ~np.isnan(values).all(axis=2)
        if not present.any(axis=1).all():
            empty = part.start + int(np.argmin(present.any(axis=1)))
            raise ValueError(f"X is NaN at all {n_steps} steps of sample {empty}.")
        firsts = present.argmax(axis=1)
        ends = n_steps - present[:, ::-1].argmax(axis=1)
        steps = np.arange(n_steps)
        inside = (steps >= firsts[:, np.newaxis]) & (steps < ends[:, np.newaxis])
        bad = ~(np.abs(values.astype(np.float64)) <= LARGEST) & inside[:, :, np.newaxis]
        _raise_at(bad, values, part.start, "X")
        leading[part], lengths[part] = firsts, ends - firsts
    if leading is None or lengths is None:
        return sequences
    return replace(sequences, leading=leading, lengths=lengths)


def _in_range(values: NDArray[Any]) -> bool:
    """Whether all values are finite in float32."""
    if values.dtype.kind != "f":
        return True
    return float(values.min()) >= -LARGEST and float(values.max()) <= LARGEST


def _raise_at(bad: NDArray[np.bool_], chunk: NDArray[Any], first_sample: int, name: str) -> None:
    """Name the first bad place of a chunk and its value, if there is one."""
    if not bad.any():
        return
    place = np.argwhere(bad)[0]
    value = chunk[tuple(place)]
    place[0] += first_sample
    last = "feature" if name == "X" else "column"
    axes = {1: ("sample",), 2: ("sample", "column"), 3: ("sample", "step", last)}
    where = ", ".join(f"{axis} {i}" for axis, i in zip(axes[chunk.ndim], place, strict=True))
    if np.isfinite(value):
        what = f"a value ({value:g}) too large for float32"
    else:
        what = "NaN" if np.isnan(value) else "infinity"
    raise ValueError(f"Input {name} contains {what} at {where}.")
