import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm import StackedLSTMRegressor
from sklstm.inspection import architecture
from sklstm.nn.summary import Architecture, Part

PLAIN = {"units": 4, "linear_steps": None, "max_epochs": 0, "random_state": 0}


def described(sequences, **params):
    X, y = sequences
    y = X[:, :, 0] if params.get("return_sequences") else y
    return architecture(StackedLSTMRegressor(**{**PLAIN, **params}).fit(X, y))


def part(table, name):
    (found,) = [part for part in table.parts if part.name == name]
    return found


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_layers": 1, "pooling": "max"},
        {"n_layers": 3, "units": (5, 4, 4), "bidirectional": True, "head_units": (6, 3)},
        {"skip": None, "return_sequences": True, "standardize": False},
        {"loss": "quantile", "quantile": (0.1, 0.9), "linear_steps": 2},
    ],
    ids=str,
)
def test_weights_of_the_parts_add_up_to_all_weights(params, sequences):
    X, y = sequences
    y = X[:, :, 0] if params.get("return_sequences") else y
    model = StackedLSTMRegressor(**{**PLAIN, **params}).fit(X, y)
    table = architecture(model)
    assert table.n_parameters == model.n_parameters_
    names = [part.name for part in table.parts]
    assert names[:2] == ["input", "LSTM 1"]
    assert [n for n in names if n.startswith("LSTM")][-1] == f"LSTM {model.n_layers_}"


def test_each_part_reads_the_one_below_it(sequences):
    table = described(sequences, head_units=(6, 3))
    assert [(part.name, part.reads) for part in table.parts] == [
        ("input", "X"),
        ("LSTM 1", "input"),
        ("LSTM 2", "LSTM 1"),
        ("pooling", "LSTM 2"),
        ("Dense 1", "pooling"),
        ("Dense 2", "Dense 1"),
        ("output", "Dense 2"),
    ]


def test_every_step_is_answered_without_pooling(sequences):
    table = described(sequences, return_sequences=True)
    assert part(table, "output").reads == "LSTM 2"
    assert part(table, "output").notes == "at each step"
    assert "pooling" not in [part.name for part in table.parts]


def test_notes_name_skip_connections_dropout_directions_and_the_linear_shortcut(sequences):
    table = described(
        sequences, units=(4, 4, 2), n_layers=3, dropout=(0, 0.25, 0.5), bidirectional=True
    )
    assert part(table, "LSTM 1").notes == "both directions"
    assert part(table, "LSTM 1").outputs == "2 x 4 units"
    assert part(table, "LSTM 2").notes == "both directions, added to LSTM 1, dropout 0.25"
    assert part(table, "LSTM 3").notes.startswith(
        "both directions, added to a projection of LSTM 2"
    )
    assert part(described(sequences, skip=None), "LSTM 2").notes == ""
    linear = part(described(sequences, linear_steps=2), "linear shortcut")
    assert linear.reads == "last 2 steps of input"
    assert linear.notes == "added to output; 7 coefficients by ridge regression"
    assert linear.n_parameters == 0


def test_the_table_has_a_line_for_each_part_and_the_total():
    parts = (
        Part("LSTM 1", "input", "4 units", "", 1200),
        Part("output", "LSTM 1", "1 number", "a", 300),
    )
    assert repr(Architecture(parts)).splitlines() == [
        "part    reads   outputs   weights   share  notes",
        "------------------------------------------------",
        "LSTM 1  input   4 units     1,200   80.0%",
        "output  LSTM 1  1 number      300   20.0%  a",
        "------------------------------------------------",
        "total                       1,500  100.0%",
    ]


def test_a_pipeline_is_described_by_its_last_step(sequences):
    X, y = sequences
    pipeline = make_pipeline(FunctionTransformer(), StackedLSTMRegressor(**PLAIN)).fit(X, y)
    assert architecture(pipeline) == architecture(pipeline[-1])


def test_only_a_fitted_stack_is_described():
    with pytest.raises(NotFittedError):
        architecture(StackedLSTMRegressor())
    with pytest.raises(TypeError, match="estimator must be a StackedLSTMRegressor"):
        architecture(Ridge())
