import pytest
import torch
from torch import nn

from sklstm import StackedLSTM

X = torch.randn(5, 9, 3, generator=torch.Generator().manual_seed(0))


def reference(module, n_layers, units, bidirectional=False):
    """The textbook stack, hand-assembled, with the weights of `module`."""
    lstm = nn.LSTM(3, units, n_layers, batch_first=True, bidirectional=bidirectional)
    for level, layer in enumerate(module.layers):
        for name, weights in layer.named_parameters():
            suffix = f"_l{level}_reverse" if name.startswith("backward") else f"_l{level}"
            own = getattr(lstm, name.split(".")[-1].replace("_l0", suffix))
            own.data.copy_(weights.data)
    dense = nn.Linear(units * (2 if bidirectional else 1), 1)
    dense.load_state_dict(module.head[-1].state_dict())
    return lstm, dense


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_plain_stack_is_the_textbook_stack(n_layers, training):
    module = StackedLSTM(3, n_layers=n_layers, units=8).train(training)
    lstm, dense = reference(module, n_layers, 8)
    expected = dense(lstm(X)[0][:, -1])
    torch.testing.assert_close(module(X), expected, rtol=0, atol=1e-6)


def test_bidirectional_final_output_is_that_of_each_direction_s_last_step():
    module = StackedLSTM(3, n_layers=2, units=8, bidirectional=True)
    lstm, dense = reference(module, 2, 8, bidirectional=True)
    sequence = lstm(X)[0]
    final = torch.cat([sequence[:, -1, :8], sequence[:, 0, 8:]], dim=1)
    torch.testing.assert_close(module(X), dense(final), rtol=0, atol=1e-6)


def test_each_layer_gets_the_full_sequence_of_the_one_below():
    module = StackedLSTM(3, n_layers=3, units=(8, 4, 2))
    inputs, outputs = [], []
    for layer in module.layers:
        layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        layer.register_forward_hook(lambda _, args, result: outputs.append(result[0]))
    module(X)
    assert [tuple(sequence.shape) for sequence in inputs] == [(5, 9, 3), (5, 9, 8), (5, 9, 4)]
    assert torch.equal(inputs[1], outputs[0])
    assert torch.equal(inputs[2], outputs[1])


def test_without_a_head_the_top_layer_s_final_output_is_the_output():
    module = StackedLSTM(3, n_outputs=None, n_layers=2, units=(8, 1))
    sequence = module.layers[1](module.layers[0](X)[0])[0]
    assert torch.equal(module(X), sequence[:, -1])


def test_head_units_are_hidden_dense_layers():
    module = StackedLSTM(3, n_outputs=2, units=8, head_units=(6, 4))
    assert [layer.out_features for layer in module.head if isinstance(layer, nn.Linear)] == [
        6,
        4,
        2,
    ]
    assert sum(isinstance(layer, nn.ReLU) for layer in module.head) == 2
    assert module(X).shape == (5, 2)


def test_dropout_acts_on_the_top_layer_too():
    module = StackedLSTM(3, n_outputs=None, n_layers=1, units=400, dropout=0.25)
    dropped = (module.train()(X) == 0).float().mean()
    assert dropped == pytest.approx(0.25, abs=0.05)
    assert not (module.eval()(X) == 0).any()


def test_dropout_acts_on_the_output_of_the_layer_it_is_given_for():
    module = StackedLSTM(3, n_layers=3, units=400, dropout=(0.5, 0.0, 0.0)).train()
    seen = []
    for layer in module.layers:
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(X)
    shares = [float((sequence == 0).float().mean()) for sequence in seen]
    assert shares == pytest.approx([0, 0.5, 0], abs=0.05)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bidirectional": True},
        {"dropout": 0.1},
        {"units": (8, 4)},
        {"return_sequences": True},
        {"skip": "residual"},
        {"skip": "residual", "units": (8, 4)},
    ],
)
@pytest.mark.parametrize("lengths", [None, torch.tensor([9, 4, 1, 7, 9])])
def test_every_layer_stays_on_the_fast_path(options, lengths):
    module = StackedLSTM(3, **{"n_layers": 2, "units": 8, **options})
    directions = 2 if options.get("bidirectional") else 1
    assert n_fast_layers(module(X, lengths).grad_fn) == 2 * directions


def n_fast_layers(node):
    seen, todo = set(), [node]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo.extend(parent for parent, _ in node.next_functions)
    return sum("MkldnnRnnLayer" in type(node).__name__ for node in seen)


def test_a_residual_skip_connection_adds_the_input_of_a_layer_to_its_output():
    module = StackedLSTM(3, n_layers=3, units=8, skip="residual")
    first = module.layers[0](X)[0]
    second = first + module.layers[1](first)[0]
    third = second + module.layers[2](second)[0]
    assert torch.equal(module(X), module.head(third[:, -1]).detach())


def test_a_residual_skip_connection_between_other_widths_is_projected():
    module = StackedLSTM(3, units=(8, 4), skip="residual").eval()
    assert module.skips[0].projection.weight.shape == (4, 8)
    assert module.skips[0].projection.bias is None
    first = module.layers[0](X)[0]
    second = module.skips[0].projection(first) + module.layers[1](first)[0]
    assert torch.equal(module(X), module.head(second[:, -1]))


def test_layers_above_the_eighth_output_zeros_at_first():
    module = StackedLSTM(3, n_layers=12, units=8, skip="residual")
    outputs = []
    for layer in module.layers:
        layer.register_forward_hook(lambda _, args, result: outputs.append(result[0]))
    module(X).sum().backward()
    assert [bool(output.any()) for output in outputs] == [True] * 8 + [False] * 4
    assert all(layer.weight_ih_l0.grad.any() for layer in module.layers)
    plain = StackedLSTM(3, n_layers=12, units=8)
    assert all(layer.weight_ih_l0[16:24].any() for layer in plain.layers)


def test_skip_connections_have_no_dropout():
    module = StackedLSTM(3, n_layers=2, units=400, dropout=(0.5, 0.0), skip="residual").train()
    seen = []
    module.layers[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module.skips[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(X)
    shares = [float((sequence == 0).float().mean()) for sequence in seen]
    assert shares == pytest.approx([0.5, 0], abs=0.05)


def test_plain_stack_has_the_weights_of_its_layers_and_head_alone():
    assert {name.split(".")[0] for name in StackedLSTM(3).state_dict()} == {"layers", "head"}


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"units": (8, 4, 4)}])
def test_a_grown_stack_answers_like_the_one_it_grew_from(options):
    options = {"units": 8, "skip": "residual", **options}
    units = options.pop("units")
    small = StackedLSTM(3, n_layers=2, units=units if units == 8 else units[:2], **options)
    large = StackedLSTM(3, n_layers=3, units=units, **options)
    large.grow_from(small)
    assert torch.equal(large(X), small(X))
    large(X).sum().backward()
    inward = [w for name, w in large.layers[2].named_parameters() if "weight_ih" in name]
    assert all(weights.grad.any() for weights in inward)


def test_a_new_layer_keeps_the_weights_of_its_gates():
    small = StackedLSTM(3, n_layers=1, units=8, skip="residual")
    large = StackedLSTM(3, n_layers=2, units=8, skip="residual")
    before = large.layers[1].weight_ih_l0.clone()
    large.grow_from(small)
    after = large.layers[1].weight_ih_l0
    assert torch.equal(after[:16], before[:16])
    assert torch.equal(after[24:], before[24:])
    assert not after[16:24].any()


@pytest.mark.parametrize(
    ("of", "to"),
    [
        ({"n_layers": 3, "skip": "residual"}, {"n_layers": 2, "skip": "residual"}),
        ({"n_layers": 1}, {"n_layers": 2, "skip": None}),
        ({"n_layers": 2, "skip": None}, {"n_layers": 3, "skip": "residual"}),
        ({"n_layers": 1, "units": 8}, {"n_layers": 3, "units": (8, 4, 8), "skip": "residual"}),
    ],
)
def test_a_stack_that_cannot_grow_into_another_is_refused(of, to):
    small, large = StackedLSTM(3, **{"units": 8, **of}), StackedLSTM(3, **{"units": 8, **to})
    before = [weights.clone() for weights in large.parameters()]
    with pytest.raises(ValueError, match=r"A stack grows by|other has \d layers"):
        large.grow_from(small)
    assert all(map(torch.equal, before, large.parameters()))


def test_state_dict_is_the_whole_model():
    module = StackedLSTM(3, units=8, standardize=True)
    module.input_scaler.mean.fill_(5.0)
    module.output_scaler.scale.fill_(7.0)
    other = StackedLSTM(3, units=8, standardize=True)
    other.load_state_dict(module.state_dict())
    assert torch.equal(module(X), other(X))


def test_statistics_keep_the_digits_of_values_with_a_large_offset():
    module = StackedLSTM(1, units=8, standardize=True)
    module.input_scaler.mean.fill_(1e9)
    small = torch.tensor([[[0.25], [0.5]]], dtype=torch.float64)
    plain = StackedLSTM(1, units=8)
    plain.load_state_dict(
        {name: values for name, values in module.state_dict().items() if "scaler" not in name}
    )
    torch.testing.assert_close(
        module(small + 1e9, scaled=True), plain(small.float()), rtol=0, atol=1e-6
    )


def test_dtype_is_that_of_the_weights():
    module = StackedLSTM(3, units=8, head_units=(4,), dtype=torch.float64)
    assert {weights.dtype for weights in module.parameters()} == {torch.float64}
    assert module(X).dtype == torch.float64


@pytest.mark.bits
def test_a_head_answers_each_row_alike_in_blocks_of_any_filling():
    module = StackedLSTM(3, n_outputs=4, units=8, head_units=(5,)).eval()
    x = X.repeat(30, 1, 1)
    with torch.no_grad():
        whole = module(x)
        assert torch.equal(module(x[:2]), whole[:2])
        assert torch.equal(module(x[40:108]), whole[40:108])


@pytest.mark.parametrize("training", [False, True])
def test_head_gives_the_gradient_of_a_linear_layer(training):
    module = StackedLSTM(3, units=8, n_outputs=2).train(training)
    module(X).sum().backward()
    torch.testing.assert_close(module.head[-1].bias.grad, torch.full((2,), 5.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_features": 0}, "n_features.*got 0"),
        ({"n_outputs": 0}, "n_outputs.*got 0"),
        ({"n_layers": 0}, "n_layers.*got 0"),
        ({"n_layers": 1.5}, "n_layers.*got 1.5"),
        ({"units": 0}, "units.*got 0"),
        ({"units": 2.5}, "units.*got 2.5"),
        ({"units": (8, 4, 2)}, "units.*n_layers=2.*got 3"),
        ({"units": (8, -1)}, "units.*got -1"),
        ({"dropout": 1.0}, "dropout.*got 1.0"),
        ({"dropout": -0.1}, "dropout.*got -0.1"),
        ({"dropout": float("nan")}, "dropout.*got nan"),
        ({"dropout": (0.1,)}, "dropout.*n_layers=2.*got 1"),
        ({"head_units": (0,)}, "head_units.*got 0"),
        ({"n_outputs": None, "head_units": (4,)}, "head_units.*n_outputs"),
        ({"n_outputs": None, "n_quantiles": 3}, "n_quantiles=3.*n_outputs"),
        ({"n_quantiles": 0}, "n_quantiles.*got 0"),
        ({"pooling": "sum"}, "pooling.*got 'sum'"),
        ({"skip": "auto"}, "skip.*got 'auto'"),
        ({"units": None}, "units.*got None"),
        ({"dropout": None}, "dropout.*got None"),
        ({"head_units": 5}, "head_units.*got 5"),
    ],
)
def test_refuses_by_name_and_value(options, message):
    with pytest.raises(ValueError, match=message):
        StackedLSTM(**{"n_features": 3, "n_layers": 2, **options})


LENGTHS = torch.tensor([9, 4, 1, 7, 9])
VARIANTS = [
    *({"n_layers": n_layers} for n_layers in (1, 2, 3)),
    *({"pooling": pooling} for pooling in ("mean", "max", "concat")),
    {"return_sequences": True},
    {"head_units": (4,), "return_sequences": True},
    {"n_outputs": 2, "n_quantiles": 3},
]


def answer(module, x, lengths=None):
    """Predictions, of the first `lengths` steps where there are steps."""
    y = module(x, lengths)
    if not module.return_sequences:
        return list(y)
    return [row[:length] for row, length in zip(y, lengths, strict=True)]


@pytest.mark.bits
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_padding_changes_no_bit(variant, bidirectional):
    x = torch.randn(8, 40, 3, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([40, 3, 1, 17, 32, 33, 40, 2])
    module = StackedLSTM(3, units=16, bidirectional=bidirectional, **variant).eval()
    filled = x.clone()
    for row, length in zip(filled, lengths, strict=True):
        row[length:] = 1e3
    longer = torch.cat([filled, torch.full((8, 23, 3), -1e3)], dim=1)
    expected = answer(module, x, lengths)
    for padded in (filled, longer):
        assert all(map(torch.equal, answer(module, padded, lengths), expected))
    with torch.no_grad():
        expected = answer(module, x, lengths)
        short = answer(module, x[:, :17], lengths.clamp(max=17))
    assert all(torch.equal(short[i], expected[i]) for i in (1, 2, 3, 7))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_padded_sequences_are_answered_as_if_alone(variant, bidirectional):
    module = StackedLSTM(3, units=8, bidirectional=bidirectional, **variant).train()
    for i, own in enumerate(answer(module, X, LENGTHS)):
        length = LENGTHS[i : i + 1]
        (alone,) = answer(module, X[i : i + 1, : length[0]], length)
        torch.testing.assert_close(own, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_no_gradient_comes_from_the_padding(variant, bidirectional):
    module = StackedLSTM(3, units=8, bidirectional=bidirectional, **variant).train()
    gradients = []
    for fill in (0.0, 1e3):
        x = X.clone()
        for row, length in zip(x, LENGTHS, strict=True):
            row[length:] = fill
        module.zero_grad()
        sum(y.square().sum() for y in answer(module, x, LENGTHS)).backward()
        gradients.append([weights.grad.clone() for weights in module.parameters()])
    assert all(map(torch.equal, *gradients))


def test_poolings_are_of_the_steps_of_each_sequence():
    module = StackedLSTM(3, n_outputs=None, n_layers=1, units=8, pooling="concat")
    sequence = module.layers[0](X)[0]
    pooled = module(X, LENGTHS)
    for own, steps, length in zip(pooled, sequence, LENGTHS, strict=True):
        parts = [steps[length - 1], steps[:length].mean(dim=0), steps[:length].amax(dim=0)]
        torch.testing.assert_close(own, torch.cat(parts), rtol=0, atol=1e-6)
    for part, pooling in enumerate(("last", "mean", "max")):
        module.pooling = pooling
        assert torch.equal(module(X, LENGTHS), pooled[:, 8 * part : 8 * part + 8])


def test_the_second_direction_starts_at_each_sequence_s_own_last_step():
    module = StackedLSTM(3, n_layers=2, units=8, bidirectional=True)
    lstm, dense = reference(module, 2, 8, bidirectional=True)
    for own, x, length in zip(module(X, LENGTHS), X, LENGTHS, strict=True):
        sequence = lstm(x[:length])[0]
        final = torch.cat([sequence[-1, :8], sequence[0, 8:]])
        torch.testing.assert_close(own, dense(final), rtol=0, atol=1e-6)


def test_with_return_sequences_the_same_head_answers_at_each_step():
    module = StackedLSTM(3, n_outputs=2, units=8, head_units=(4,), return_sequences=True)
    sequence = module.layers[1](module.layers[0](X)[0])[0]
    torch.testing.assert_close(module(X), module.head(sequence))
    assert module(X).shape == (5, 9, 2)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_lengths_may_be_any_integers(dtype):
    module = StackedLSTM(3, units=8, bidirectional=True, pooling="concat")
    assert torch.equal(module(X, LENGTHS.to(dtype)), module(X, LENGTHS))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([9, 4, 0, 7, 9]), "from 1 to n_timesteps=9, got 0 to 9"),
        (torch.tensor([9, 4, 1, 7, 10]), "from 1 to n_timesteps=9, got 1 to 10"),
        (torch.tensor([9, 4]), r"5 integers, got shape \(2,\)"),
        (torch.ones(5, 1, dtype=torch.long), r"5 integers, got shape \(5, 1\)"),
        (torch.ones(5), r"5 integers, got .* torch.float32"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"pooling": "mean"}, {"return_sequences": True}])
def test_wrong_lengths_are_refused(options, lengths, message):
    with pytest.raises(ValueError, match=message):
        StackedLSTM(3, units=8, **options)(X, lengths)


def test_an_lstm_may_be_the_output_layer():
    module = StackedLSTM(3, units=1, n_outputs=None)
    assert len(module.head) == 0
    assert module(X).shape == (5, 1)
    assert torch.equal(module(X), module.layers[1](module.layers[0](X)[0])[0][:, -1])
    steps = StackedLSTM(3, units=1, n_outputs=None, return_sequences=True)
    steps.load_state_dict(module.state_dict())
    assert steps(X).shape == (5, 9, 1)
    assert torch.equal(steps(X)[:, -1], module(X))


def test_quantiles_are_sorted_and_scaled_like_their_output():
    module = StackedLSTM(3, n_outputs=2, units=8, n_quantiles=3, standardize=True)
    module.output_scaler.mean.copy_(torch.tensor([10.0, -20.0]))
    module.output_scaler.scale.copy_(torch.tensor([2.0, 3.0]))
    y, scaled = module(X), module(X, scaled=True)
    assert y.shape == (5, 2, 3)
    assert (y.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(y[:, 0], scaled[:, 0].double() * 2 + 10)
    torch.testing.assert_close(y[:, 1], scaled[:, 1].double() * 3 - 20)


def test_a_batch_of_no_sequences_is_refused_where_it_has_lengths():
    module = StackedLSTM(3, units=8)
    with pytest.raises(ValueError, match=r"x has shape \(0, 9, 3\)"):
        module(X[:0], torch.tensor([], dtype=torch.long))
    assert module(X[:0]).shape == (0, 1)
