import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from sklstm.training.shortcut import ridge_by_leave_one_out

PENALTIES = np.logspace(-3, 3, 7)


def fitted(X, Y, weight=None):
    weight = np.ones(len(X)) if weight is None else weight / weight.mean()
    numbers = (torch.from_numpy(values) for values in (X, Y, weight, PENALTIES))
    return [values.numpy() for values in ridge_by_leave_one_out(*numbers)]


def data(n_rows, n_columns):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_columns)) + 3
    noise = rng.normal(size=(n_rows, 2)) * [0.1, 5]
    return X, X[:, :2] @ [[1, 2], [-1, 0.5]] + noise + 10


@pytest.mark.parametrize("shape", [(60, 4), (12, 30), (9, 9)], ids=str)
def test_it_is_the_ridge_regression_of_scikit_learn(shape):
    X, Y = data(*shape)
    coefficients, constants, errors = fitted(X, Y)
    expected = RidgeCV(PENALTIES, alpha_per_target=True).fit(X, Y)
    np.testing.assert_allclose(coefficients, expected.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(constants, expected.intercept_, rtol=1e-7)
    np.testing.assert_allclose(errors, -expected.best_score_, rtol=1e-7)


@pytest.mark.parametrize("shape", [(40, 3), (10, 20)], ids=str)
def test_errors_are_those_of_fits_without_the_row(shape):
    X, Y = data(*shape)
    weight = np.random.default_rng(1).uniform(0.5, 2, size=len(X))
    weight /= weight.mean()
    _, _, errors = fitted(X, Y, weight)
    left_out = np.empty((len(PENALTIES), *Y.shape))
    for i, penalty in enumerate(PENALTIES):
        for row in range(len(X)):
            kept = np.arange(len(X)) != row
            w, x, y = weight[kept], X[kept], Y[kept]
            x_mean, y_mean = np.average(x, axis=0, weights=w), np.average(y, axis=0, weights=w)
            gram = (w * (x - x_mean).T) @ (x - x_mean) + penalty * np.eye(X.shape[1])
            coefficients = np.linalg.solve(gram, (w * (x - x_mean).T) @ (y - y_mean))
            left_out[i, row] = Y[row] - y_mean - (X[row] - x_mean) @ coefficients
    expected = np.average(left_out**2, axis=1, weights=weight).min(axis=0)
    np.testing.assert_allclose(errors, expected, rtol=1e-7)


def test_a_weight_of_two_is_as_good_as_two_rows():
    X, Y = data(30, 3)
    weight = np.where(np.arange(30) < 10, 2.0, 1.0)
    twice = np.r_[np.arange(10), np.arange(30)]
    for penalty in (0.1, 10.0):
        rows = [torch.from_numpy(values) for values in (X, Y, weight, np.array([penalty]))]
        doubled = [X[twice], Y[twice], np.ones(40), np.array([penalty])]
        coefficients, constants, _ = ridge_by_leave_one_out(*rows)
        expected, expected_constants, _ = ridge_by_leave_one_out(*map(torch.from_numpy, doubled))
        torch.testing.assert_close(coefficients, expected)
        torch.testing.assert_close(constants, expected_constants)


def test_two_rows_take_the_smallest_penalty():
    X, Y = np.array([[10.0, 20, 30], [20, 30, 40]]), np.array([[40.0], [50]])
    coefficients, constants, _ = fitted(X, Y)
    assert coefficients @ [70, 80, 90] + constants == pytest.approx(100, rel=1e-3)
