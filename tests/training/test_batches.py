"""Mini-batches of sequences of unequal length."""

import numpy as np
import torch
from small_models import ragged

from sklstm.data.sequences import Sequences
from sklstm.training.batches import Batches, SequenceDataset


def test_batches_hold_sequences_of_like_length():
    lengths = np.random.default_rng(0).integers(10, 101, size=1000)
    dataset = SequenceDataset(Sequences.joined([np.full((n, 1), n) for n in lengths]))
    batches = Batches(dataset, batch_size=32, shuffle=True)
    torch.manual_seed(0)
    epochs = [[inputs["x"] for inputs, _ in batches] for _ in range(8)]
    smallest = []
    for epoch in epochs:
        assert sorted(len(x) for x in epoch) == [8, *[32] * 31]
        seen = np.concatenate([x[:, 0, 0] for x in epoch])
        assert np.array_equal(np.sort(seen), np.sort(lengths))
        assert sum(x.numel() for x in epoch) < 1.05 * lengths.sum()
        assert len({x.shape[1] for x in epoch[:8]}) > 4
        smallest.append(min(epoch, key=len).shape[1])
    assert len(set(smallest)) > 4
    assert not torch.equal(epochs[0][0], epochs[1][0])
    torch.manual_seed(0)
    again = [inputs["x"] for inputs, _ in batches]
    assert all(map(torch.equal, again, epochs[0]))


def test_a_batch_is_one_of_a_pool_of_batches(monkeypatch):
    monkeypatch.setattr("sklstm.training.batches.POOL", 2)
    dataset = SequenceDataset(Sequences.joined([np.zeros((n, 1)) for n in range(1, 1001)]))
    torch.manual_seed(0)
    widths = [inputs["x"].shape[1] for inputs, _ in Batches(dataset, 20, shuffle=True)]
    assert np.median(widths) > 700


def test_held_out_sequences_are_in_the_order_of_their_lengths():
    X = Sequences.joined(ragged(40))
    head, tail = SequenceDataset(X, np.arange(40.0)).split(30)
    assert np.array_equal(head.X.lengths, X.lengths[:30])
    assert np.array_equal(tail.X.lengths, np.sort(X.lengths[30:]))
    assert np.array_equal(X.lengths[tail.y.steps()[:, 0].astype(int)], tail.X.lengths)


def test_batches_of_predictions_are_smaller_where_sequences_are_long(monkeypatch):
    monkeypatch.setattr("sklstm.training.batches.MOST_NUMBERS", 1000)
    lengths = [1] * 300 + [100] * 20
    dataset = SequenceDataset(Sequences.joined([np.zeros((n, 1)) for n in lengths]))
    batches = [inputs["x"] for inputs, _ in Batches(dataset, batch_size=256)]
    assert [len(x) for x in batches] == [256, *[10] * 6, 4]
