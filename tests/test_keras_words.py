import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklstm import StackedLSTMRegressor
from sklstm.keras_words import PARAMETERS

PAGE = (Path(__file__).parents[1] / "docs" / "keras.rst").read_text()
X, Y = np.zeros((4, 3, 1)), np.arange(4.0)


def table_on_the_page():
    """Return the rows of the table of parameters, without marks."""
    table = PAGE.split(".. list-table:: Parameters\n")[1].split("\n\n\n")[0] + "\n"
    rows = re.findall(r"^   \* - (.+)\n     - ((?:.+\n)(?:       .+\n)*)", table, re.MULTILINE)
    plain = [[" ".join(cell.replace("`", "").split()) for cell in row] for row in rows]
    return dict(plain[1:])


def test_the_table_on_the_page_is_that_of_the_errors():
    assert table_on_the_page() == PARAMETERS


def test_no_word_of_keras_is_a_parameter_here():
    assert not set(PARAMETERS) & set(StackedLSTMRegressor().get_params())


@pytest.mark.parametrize("word", PARAMETERS)
def test_keras_words_are_refused_with_what_they_are_here(word):
    said = rf"Keras' {word} is here: {re.escape(PARAMETERS[word])}\. See .*Coming from Keras"
    with pytest.raises(TypeError, match=rf"__init__ has no parameter '{word}'\. {said}"):
        StackedLSTMRegressor(units=8, **{word: 1})
    with pytest.raises(ValueError, match=f"Invalid parameter for estimator .*{said}"):
        StackedLSTMRegressor().set_params(units=8, **{word: 1})
    pipeline = make_pipeline(StackedLSTMRegressor())
    with pytest.raises(ValueError, match=said):
        pipeline.set_params(**{f"stackedlstmregressor__{word}": 1})


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_fit_says_which_parameter_of_the_estimator_a_word_is(method):
    fit = getattr(StackedLSTMRegressor(), method)
    with pytest.raises(
        TypeError, match=rf"{method} has no parameter 'epochs'.* here: max_epochs\. "
    ):
        fit(X, Y, epochs=3)
    with pytest.raises(TypeError, match=r"'batch_size'.*StackedLSTMRegressor\(batch_size=\.\.\."):
        fit(X, Y, batch_size=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        fit(X, Y, colour=3)


def test_words_that_nobody_knows_get_the_usual_errors():
    with pytest.raises(TypeError, match="unexpected keyword argument 'n_layer'"):
        StackedLSTMRegressor(n_layer=3)
    with pytest.raises(ValueError, match="Invalid parameter 'n_layer' for estimator"):
        StackedLSTMRegressor().set_params(n_layer=3)


@pytest.mark.parametrize(("word", "name"), [("mse", "squared_error"), ("mae", "absolute_error")])
def test_keras_losses_are_refused_with_their_names_here(word, name):
    with pytest.raises(ValueError, match=rf"'loss'.*Keras' '{word}' is loss='{name}'.*'{word}'"):
        StackedLSTMRegressor(loss=word).fit(X, Y)
    assert f'`loss="{word}"`' in PAGE or f'`"{word}"`' in PAGE


def test_the_signature_is_that_of_the_constructor():
    parameters = inspect.signature(StackedLSTMRegressor).parameters
    assert set(parameters) == set(StackedLSTMRegressor().get_params())
    assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    assert "sample_weight" in inspect.signature(StackedLSTMRegressor.fit).parameters


@pytest.mark.parametrize("n", [32, 50, np.int64(100)])
def test_a_large_number_alone_is_warned_of_as_units_at_the_line_that_has_it(n):
    message = rf"\({n}\) has {n} layers\. Keras' LSTM\({n}\) .*\(n_layers=1, units={n}\)"
    with pytest.warns(UserWarning, match=message) as caught:
        StackedLSTMRegressor(n)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=message):
        StackedLSTMRegressor(n, random_state=0)


def test_layers_that_are_called_layers_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in (
            StackedLSTMRegressor(n_layers=50),
            StackedLSTMRegressor(50, 8),
            StackedLSTMRegressor(50, units=8),
            StackedLSTMRegressor(31),
            StackedLSTMRegressor("50"),
            StackedLSTMRegressor().set_params(n_layers=64),
        ):
            clone(model)
        search = GridSearchCV(StackedLSTMRegressor(units=2, max_epochs=0), {"n_layers": [32]}, cv=2)
        assert search.fit(X, Y).best_params_ == {"n_layers": 32}
