import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def sequences():
    """Sixty sequences of seven steps and three features whose last steps make the target."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 7, 3))
    return X, X[:, -2:, 0].sum(axis=1)
