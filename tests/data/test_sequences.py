"""`Sequences`: a view over one array."""

import numpy as np

from sklstm.data.sequences import Sequences, ranges


def test_blocks_hold_a_bounded_number_of_steps(monkeypatch):
    monkeypatch.setattr("sklstm.data.sequences.BLOCK_BYTES", 8 * 100)
    lengths = [1000, *[10] * 1000, 1000]
    sequences = Sequences.joined([np.zeros((length, 1)) for length in lengths])
    blocks = list(sequences.blocks())
    assert len(blocks) == 102
    assert [i for block in blocks for i in range(len(lengths))[block]] == list(range(1002))


def ragged():
    arrays = [np.arange(2.0 * n).reshape(n, 2) + 100 * n for n in (3, 1, 4)]
    return arrays, Sequences.joined(arrays)


def test_sequences_of_unequal_length_are_padded_with_their_last_step():
    arrays, sequences = ragged()
    batch, lengths = sequences.batch([2, 1])
    assert lengths.tolist() == [4, 1]
    assert np.array_equal(batch, [arrays[2], np.repeat(arrays[1], 4, axis=0)])


def test_steps_stand_one_sequence_after_the_other():
    arrays, sequences = ragged()
    assert np.array_equal(sequences.steps(), np.concatenate(arrays))
    assert np.array_equal(sequences[::-1].steps(), np.concatenate(arrays[::-1]))


def test_arrays_of_equal_length_need_no_lengths():
    X = np.random.default_rng(0).normal(size=(6, 4, 2))
    for sequences in (Sequences.equal(X), Sequences.joined(list(X))):
        batch, lengths = sequences.batch(slice(1, 3))
        assert lengths is None
        assert np.array_equal(batch, X[1:3])
    assert np.shares_memory(Sequences.equal(X)[2:].values, X)


def test_drawn_sequences_are_some_of_them_in_their_order():
    X = np.arange(200.0).reshape(100, 2, 1)
    drawn, steps, lengths = Sequences.equal(X).draw(70, np.random.default_rng(0))
    assert len(set(drawn)) == 70
    assert (np.diff(drawn) > 0).all()
    assert np.array_equal(steps.reshape(70, 2, 1), X[drawn])
    assert lengths.tolist() == [2] * 70


def test_ranges_are_joined():
    assert ranges(np.array([5, 0]), np.array([2, 3])).tolist() == [5, 6, 0, 1, 2]
