from collections import deque

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from skorch.helper import SliceDataset
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, Dataset, TensorDataset

from sklstm import StackedLSTMRegressor, step_scorer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 6, 2))
Y = X[:, -1, 0]
LISTED = [RNG.normal(size=(span, 2)) for span in [5, 3, 7, 1, 7, 4, 2, 6]]
STEPS = [np.cumsum(x[:, 0]) for x in LISTED]


def fitted(X, y, **params):
    defaults = {"n_layers": 1, "units": 4, "max_epochs": 1, "random_state": 0}
    return StackedLSTMRegressor(**{**defaults, **params}).fit(X, y)


MODEL, ROWS = fitted(X, Y), fitted(X[:, :, 0], Y)
MANY = fitted(X, X[:, :, 0], return_sequences=True)


class Pairs(Dataset):
    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i], self.y[i]


def packed(arrays):
    return pack_sequence([torch.tensor(array) for array in arrays], enforce_sorted=False)


# packed sequences, datasets


def test_packed_sequences_are_the_list_in_its_own_order():
    expected = fitted(LISTED, Y).predict(LISTED)
    assert np.array_equal(fitted(packed(LISTED), Y).predict(LISTED), expected)
    assert np.array_equal(MODEL.predict(packed(LISTED)), MODEL.predict(LISTED))
    assert MODEL.score(packed(LISTED), Y) == MODEL.score(LISTED, Y)


def test_packed_sequences_that_were_sorted_before_are_read_as_well():
    by_length = sorted(LISTED, key=len, reverse=True)
    sequences = pack_sequence([torch.tensor(x) for x in by_length])
    assert sequences.unsorted_indices is None
    assert np.array_equal(MODEL.predict(sequences), MODEL.predict(by_length))


def test_packed_series_are_univariate():
    series = [x[:, 0] for x in LISTED]
    model = fitted(packed(series), Y)
    assert model.n_features_in_ == 1
    assert np.array_equal(model.predict(series), fitted(series, Y).predict(series))


def test_packed_targets_are_answered_with_a_list():
    model = fitted(packed(LISTED), packed(STEPS), return_sequences=True)
    expected = fitted(LISTED, STEPS, return_sequences=True)
    assert all(map(np.array_equal, model.predict(LISTED), expected.predict(LISTED)))
    assert model.score(packed(LISTED), packed(STEPS)) == expected.score(LISTED, STEPS)


def test_packed_sequences_with_gradients_are_refused_by_name():
    sequences = pack_sequence([torch.zeros(3, 2, requires_grad=True)] * 8)
    with pytest.raises(ValueError, match=r"X is not an array of real numbers: .*requires grad"):
        MODEL.predict(sequences)


@pytest.mark.parametrize("one", [lambda x: x, torch.tensor, lambda x: x.tolist()])
@pytest.mark.parametrize("sequences", [list(X), LISTED], ids=["equal", "unequal"])
def test_slices_of_a_dataset_are_lists(one, sequences):
    data = Pairs([one(x) for x in sequences], [one(y) for y in Y])
    model = fitted(SliceDataset(data), SliceDataset(data, idx=1))
    expected = fitted(sequences, Y)
    assert np.array_equal(model.predict(SliceDataset(data)), expected.predict(sequences))
    assert MODEL.score(SliceDataset(data), SliceDataset(data, idx=1)) == MODEL.score(sequences, Y)


def test_a_slice_of_a_dataset_that_does_not_have_it_is_no_empty_list():
    with pytest.raises(IndexError, match="only 2 elements"):
        fitted(SliceDataset(Pairs(X, Y), idx=2), Y)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Pairs(X, Y), r"X is a Pairs; .*X=\[x for x, _ in dataset\] and .*SliceDataset\("),
        (TensorDataset(torch.tensor(X), torch.tensor(Y)), "X is a TensorDataset; .*SliceDataset"),
        (DataLoader(Pairs(X, Y)), r"X is a DataLoader; .*dataset = X.dataset .*SliceDataset\("),
        (deque(LISTED), None),
        (zip(X, Y, strict=True), r"X is a zip; .*list\(X\)"),
        ({1, 2}, r"X is a set; .*list\(X\)"),
        ({"load": X}, r"X is a dict with the keys 'load'; .*static\[:, np.newaxis\]"),
        ({f"x{i}": X for i in range(5)}, "the keys 'x0', 'x1', 'x2', ...; expected one array"),
        (pd.DataFrame(X[0]).groupby(0), r"X is a DataFrameGroupBy; .*\[g for _, g in df.groupby"),
        (pd.DataFrame(X[0]).groupby(0)[1], r"X is a SeriesGroupBy; .*\[g for _, g in df.groupby"),
        (pl.DataFrame(X[0]).group_by("column_0"), r"X is a GroupBy; .*\[g for _, g in df.groupby"),
        ("text", "got a scalar: str"),
        (None, "got a scalar: NoneType"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_holds_samples_but_is_no_array_is_refused_with_a_way_on(data, message):
    if message is None:
        assert MODEL.predict(data).shape == (8,)
        return
    for call in (lambda: fitted(data, Y), lambda: MODEL.predict(data)):
        with pytest.raises(ValueError, match=message):
            call()


STATIC = RNG.normal(size=(8, 3))


@pytest.mark.parametrize("inputs", [[X, STATIC], (STATIC, X), [X, X]], ids=["last", "first", "no"])
def test_several_inputs_are_refused_with_the_line_that_makes_them_one(inputs):
    with pytest.raises(ValueError, match=r"shape \(8, 6, 2\).*np.concatenate\(\[sequences, np.re"):
        fitted(inputs, Y)


def test_the_line_for_static_features_works():
    sequences, static = X, STATIC
    with pytest.raises(ValueError, match="one value a sequence") as caught:
        fitted([sequences, static], Y)
    line = str(caught.value).split("at each step: ")[1].rstrip(".")
    together = eval(line)
    assert together.shape == (8, 6, 5)
    assert np.array_equal(together[:, 3, 2:], static)


# data frames


def table(column):
    return {"a": list(Y), "it": list(column)}


DATES = pd.date_range("2020-01-01", periods=8).to_pydatetime()
COLUMNS = {
    "dates": DATES,
    "durations": DATES - DATES[0],
    "text": list("abcdefgh"),
    "times": [date.time() for date in DATES],
}


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_without_numbers_is_named_with_its_dtype(frame, name):
    data = frame(table(COLUMNS[name]))
    dtype = str(data["it"].dtype).replace("[", r"\[").replace("(", r"\(")[:8]
    message = f"X has a column 'it' of dtype {dtype}.*Drop it.*make_column_transformer"
    for model in (StackedLSTMRegressor(), ROWS):
        with pytest.raises(ValueError, match=message):
            model.fit(data, Y) if model is not ROWS else model.predict(data)
    with pytest.raises(ValueError, match=message.replace("X has", r"X\[2\] has")):
        MODEL.predict([X[0], X[1], data])
    with pytest.raises(ValueError, match=message.replace("X has", "y has")):
        fitted(X, data)


@pytest.mark.parametrize(
    "column",
    [
        pd.Categorical(list("abcdefgh")),
        pd.Series(DATES).dt.tz_localize("UTC"),
        pd.Series(DATES).dt.to_period("D"),
        [10**400] * 8,
        [{}] * 8,
    ],
    ids=["categories", "time zone", "periods", "huge integers", "dicts"],
)
def test_columns_of_pandas_that_hold_no_numbers_are_named(column):
    with pytest.raises(ValueError, match="X has a column 'it' of dtype"):
        fitted(pd.DataFrame({"a": Y, "it": column}), Y)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(range(8), dtype=object),
        pd.Series(range(8), dtype="Int64"),
        pd.Series(range(8), dtype="category"),
        pd.Series([True, False] * 4),
        pd.Series([True, False] * 4, dtype="boolean"),
    ],
    ids=["objects", "Int64", "categories", "bool", "boolean"],
)
def test_columns_of_pandas_that_hold_numbers_are_read(column):
    data = pd.DataFrame({"a": Y, "it": column})
    expected = fitted(data.astype(float).to_numpy(), Y).predict(data.astype(float).to_numpy())
    model = fitted(data, Y)
    assert list(model.feature_names_in_) == ["a", "it"]
    assert np.array_equal(model.predict(data), expected)


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Boolean, pl.Float32, pl.Decimal(10, 2)], ids=str)
def test_columns_of_polars_that_hold_numbers_are_read(dtype):
    data = pl.DataFrame({"a": Y, "it": pl.Series([0, 1] * 4).cast(dtype)})
    plain = np.column_stack([Y, [0, 1] * 4])
    assert np.array_equal(fitted(data, Y).predict(data), fitted(plain, Y).predict(plain))


def test_missing_numbers_of_a_data_frame_are_named_by_their_place():
    data = pd.DataFrame({"a": Y, "it": pd.Series([1, pd.NA] * 4, dtype="Int64")})
    with pytest.raises(ValueError, match="NaN at sample 1, column 1"):
        fitted(data, Y)


@pytest.fixture
def frames():
    """A data frame a sample; NaN at the first step of one of them."""
    tables = [pd.DataFrame(x, columns=["a", "b"]) for x in X]
    tables[3].loc[0] = np.nan
    return tables


def test_missing_steps_of_nullable_data_frames_are_nan(frames):
    nullable = [frame.astype("Float64") for frame in frames]
    assert nullable[3].loc[0, "a"] is pd.NA
    expected = fitted(frames, Y).predict(frames)
    assert np.array_equal(fitted(nullable, Y).predict(nullable), expected)
    nullable[2].loc[3, "b"] = pd.NA
    with pytest.raises(ValueError, match="NaN at sample 2, step 3, feature 1"):
        MODEL.predict(nullable)


@pytest.mark.parametrize("form", [list, np.array, pd.Series], ids=["list", "array", "Series"])
def test_na_among_the_labels_is_a_missing_label(form):
    given = form(np.array([Y[0], pd.NA, *Y[2:]], dtype=object))
    labels = np.r_[Y[0], np.nan, Y[2:]]
    model = fitted(X, given)
    assert np.array_equal(model.predict(X), fitted(X, labels).predict(X))
    assert model.score(X, given) == model.score(X, labels)


@pytest.mark.parametrize(
    "form", [np.array, list, lambda X: X.tolist()], ids=["array", "2-D", "list"]
)
def test_na_in_an_array_of_objects_is_nan(form):
    x, expected = X.astype(object), X.copy()
    x[1, 0], expected[1, 0] = pd.NA, np.nan
    assert np.array_equal(MODEL.predict(form(x)), MODEL.predict(expected))
    assert np.array_equal(fitted(form(x), Y).predict(X), fitted(expected, Y).predict(X))
    x[1, 2, 1] = pd.NA
    with pytest.raises(ValueError, match="NaN at sample 1, step 2, feature 1"):
        MODEL.predict(form(x))


def test_na_in_a_column_of_objects_is_nan():
    data = pd.DataFrame({"a": Y, "b": np.array([1, pd.NA] * 4, dtype=object)})
    with pytest.raises(ValueError, match="NaN at sample 1, column 1"):
        fitted(data, Y)
    numbers = np.column_stack([Y, [1, np.nan] * 4])
    assert np.array_equal(fitted(X, data).predict(X), fitted(X, numbers).predict(X))
    assert data.loc[1, "b"] is pd.NA


def test_an_object_in_an_array_is_refused_with_the_name_of_the_array():
    with pytest.raises(TypeError, match=r"X is not an array of real numbers: .*'dict'"):
        MODEL.predict(np.full((8, 6, 2), {}, dtype=object))


LAZY = pl.DataFrame(X[0]).lazy()
RECORDS = pd.DataFrame(X[:, :, 0], columns=list("abcdef")).to_records(index=False)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("X", lambda: fitted(LAZY, Y)),
        ("X", lambda: MODEL.predict(LAZY)),
        (r"X\[0\]", lambda: MODEL.predict([LAZY] * 8)),
        ("y", lambda: fitted(X, LAZY)),
    ],
)
def test_a_lazy_frame_is_refused_without_a_query(name, call):
    with pytest.raises(ValueError, match=rf"^{name} is a LazyFrame.*call \.collect\(\) first"):
        call()


@pytest.mark.parametrize("form", [lambda x: x, np.array], ids=["records", "structured"])
def test_named_fields_are_refused_with_the_line_that_makes_columns(form):
    message = r"X has named fields, 'a', 'b', 'c', \.\.\., and .*pd.DataFrame\(X\)"
    for call in (fitted, lambda X, y: ROWS.predict(X)):
        with pytest.raises(ValueError, match=message):
            call(form(RECORDS), Y)
    with pytest.raises(ValueError, match=r"y has named fields.*pd.DataFrame\(y\)"):
        fitted(X, form(RECORDS))
    with pytest.raises(ValueError, match=r"X\[0\] has named fields"):
        fitted([form(RECORDS)] * 8, Y)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.coo_array])
def test_a_list_of_sparse_arrays_is_refused(form):
    with pytest.raises(ValueError, match=r"X\[0\] is sparse; .*X\[0\].toarray\(\)"):
        fitted([form(x) for x in X], Y)


@pytest.mark.parametrize(
    "grouped",
    [
        lambda df: df.groupby("id"),
        lambda df: df.groupby(["id"]),
        lambda df: df.groupby("id")["a"],
        lambda df: pl.DataFrame(df).group_by("id"),
    ],
    ids=["key", "keys", "series", "polars"],
)
def test_pairs_of_a_key_and_a_group_are_refused_with_the_line_for_groups(grouped):
    long = pd.DataFrame({"id": np.repeat(range(8), 6), "a": X[:, :, 0].ravel()})
    with pytest.raises(ValueError, match=r"X\[0\] is a pair .*\[g for _, g in df.groupby"):
        fitted(list(grouped(long)), Y)


NESTED = {
    "series": lambda: pd.DataFrame(
        {f"dim_{i}": list(map(pd.Series, X[:, :, i])) for i in range(2)}
    ),
    "arrays": lambda: pd.DataFrame({f"dim_{i}": list(X[:, :, i]) for i in range(2)}),
    "polars": lambda: pl.DataFrame({f"dim_{i}": X[:, :, i].tolist() for i in range(2)}),
}


@pytest.mark.parametrize("kind", NESTED)
def test_a_frame_of_sequences_is_refused_with_the_line_that_makes_a_list(kind):
    frame = NESTED[kind]()
    with pytest.raises(ValueError, match=r"X has a column 'dim_0' .*hold sequences") as caught:
        fitted(frame, Y)
    line = str(caught.value).split("hold sequences: ")[1].rstrip(".")
    assert np.array_equal(eval(line, {"np": np, "X": frame}), X)


def test_an_array_of_sequences_is_refused_by_name():
    with pytest.raises(ValueError, match=r"X must hold numbers: .*with a sequence"):
        fitted(NESTED["series"]().to_numpy(), Y)


# nested lists, None, huge integers


@pytest.mark.parametrize("frame", [pd.Series, pl.Series], ids=["pandas", "polars"])
def test_a_series_of_lists_is_the_list_of_lists(frame):
    rows = X[:, :, 0].tolist()
    model = fitted(frame(rows), Y)
    assert model.n_features_in_ == 6
    assert np.array_equal(model.predict(frame(rows)), ROWS.predict(rows))
    ragged = [x[:, 0].tolist() for x in LISTED]
    assert np.array_equal(
        fitted(frame(ragged), Y).predict(frame(ragged)), fitted(ragged, Y).predict(ragged)
    )


def test_a_series_of_nested_lists_is_three_dimensional():
    assert np.array_equal(MODEL.predict(pd.Series(X.tolist())), MODEL.predict(X))


def test_none_is_nan_whatever_else_is_in_the_call():
    short, long = [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0], [None, None]]
    alone = MODEL.predict([short])
    for others in ([], [short], [long], [long, short], [[[1.0, 2.0]]]):
        assert MODEL.predict([long, *others])[0] == alone[0]
    middle = [[1.0, 2.0], [None, None], [3.0, 4.0]]
    for others in ([], [middle], [short]):
        with pytest.raises(ValueError, match="X contains NaN at sample 0, step 1, feature 0"):
            MODEL.predict([middle, *others])
    with pytest.raises(ValueError, match="X contains NaN at sample 0, column 1"):
        ROWS.predict([[1, None, 3, 4, 5, 6]])


@pytest.mark.parametrize(
    "form", [list, lambda X: np.array(X, dtype=object)], ids=["list", "object array"]
)
def test_huge_integers_are_refused_by_name(form):
    equal = [[[10**400, 1], [1, 2]], [[1, 2], [1, 2]]]
    for call in (lambda: fitted(form(equal), [1, 2]), lambda: MODEL.predict(form(equal))):
        with pytest.raises(ValueError, match="X is not an array of real numbers: int too large"):
            call()
    with pytest.raises(ValueError, match=r"X\[1\] is not an array of real numbers: int too large"):
        MODEL.predict([[[1, 2]], [[10**400, 1], [1, 2]]])
    with pytest.raises(ValueError, match="y is not an array of real numbers: int too large"):
        fitted(X, form([10**400, *range(7)]))


# masks


def masked(values):
    return np.ma.masked_array(
        values, mask=np.arange(np.size(values)).reshape(np.shape(values)) == 3
    )


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("X", lambda: fitted(masked(X), Y)),
        ("X", lambda: MODEL.predict(masked(X))),
        ("X", lambda: MODEL.score(masked(X), Y)),
        ("X", lambda: ROWS.predict(masked(X[:, :, 0]))),
        (r"X\[2\]", lambda: MODEL.predict([*LISTED[:2], masked(LISTED[2])])),
        ("y", lambda: fitted(X, masked(Y))),
        ("y", lambda: fitted(X, masked(X))),
        ("y", lambda: MODEL.score(X, masked(Y))),
        ("y", lambda: fitted(X, masked(X[:, :, 0]), return_sequences=True)),
        (r"y\[0\]", lambda: fitted(LISTED, [masked(STEPS[0]), *STEPS[1:]], return_sequences=True)),
        ("y", lambda: step_scorer("r2")(MANY, X, masked(X[:, :, 0]))),
        ("sample_weight", lambda: StackedLSTMRegressor().fit(X, Y, masked(np.ones(8)))),
        ("sample_weight", lambda: StackedLSTMRegressor().partial_fit(X, Y, masked(np.ones(8)))),
        ("sample_weight", lambda: MODEL.score(X, Y, masked(np.ones(8)))),
        ("sample_weight", lambda: step_scorer("r2")(MANY, X, X[:, :, 0], masked(np.ones(8)))),
    ],
)
def test_masked_entries_are_refused_by_name(name, call):
    with pytest.raises(ValueError, match=f"{name} has masked entries"):
        call()


def test_a_mask_that_hides_nothing_is_none():
    plain = np.ma.masked_array
    weight = np.ones(8)
    model = StackedLSTMRegressor(1, 4, max_epochs=1, random_state=0)
    expected = model.fit(X, Y, weight).predict(X)
    model.fit(plain(X), plain(Y), plain(weight))
    assert np.array_equal(model.predict(plain(X)), expected)
    assert model.score(plain(X), plain(Y), plain(weight)) == model.score(X, Y, weight)


# arrays of other libraries


@pytest.fixture
def dispatch(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    try:
        with config_context(array_api_dispatch=True):
            yield
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("dispatch")
def test_tensors_are_arrays_whatever_scikit_learn_does_with_them():
    tensors = torch.tensor(X), torch.tensor(Y)
    model = StackedLSTMRegressor(1, 4, max_epochs=1, random_state=0)
    model.fit(*tensors)
    assert np.array_equal(model.predict(tensors[0]), fitted(X, Y).predict(X))
    weight = torch.arange(8.0)
    expected = clone(model).fit(X, Y, weight.numpy()).predict(X)
    assert np.array_equal(model.fit(*tensors, weight).predict(tensors[0]), expected)
    assert model.score(*tensors) == model.score(X, Y)
    assert np.array_equal(ROWS.predict(tensors[0][:, :, 0]), ROWS.predict(X[:, :, 0]))
    assert step_scorer("r2")(MANY, tensors[0], tensors[0][:, :, 0]) > -np.inf


def test_tensors_that_numpy_does_not_take_are_refused_by_name():
    with pytest.raises(ValueError, match=r"X is not an array of real numbers: .*Sparse layout"):
        MODEL.predict(torch.zeros(2, 6, 2).to_sparse())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e5m2], ids=str)
def test_tensors_of_floats_for_which_numpy_has_no_dtype_are_read(dtype):
    x, y = torch.tensor(X).to(dtype), torch.tensor(Y).to(dtype)
    expected = fitted(x.float(), y.float()).predict(x.float())
    for inputs, targets in ((x, y), (list(x), list(y))):
        assert np.array_equal(fitted(inputs, targets).predict(inputs), expected)


def test_sparse_x_is_left_to_scikit_learn():
    with pytest.raises(TypeError, match="Sparse data"):
        ROWS.predict(sparse.csr_array(X[:, :, 0]))


@pytest.mark.parametrize("n_layers", ["auto", 2])
@pytest.mark.parametrize("sizes", [{"units": np.array(4)}, {"dropout": np.array(0.1)}], ids=str)
def test_an_array_without_axes_is_refused_by_the_name_of_its_parameter(sizes, n_layers):
    (name,) = sizes
    with pytest.raises(ValueError, match=rf"{name} must be one number or one .* got array\("):
        fitted(X, Y, n_layers=n_layers, **sizes)
