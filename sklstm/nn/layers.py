"""The parts of a stack: LSTM layers, the paths around them, pooling, Dense, scaling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FAR, FARTHEST = 10.0, 1e18
# Rows and columns of the matrix products in which `Dense` answers. In a product of this height and
# of a width that is a multiple of eight, MKL rounds each row alike wherever it stands, with SSE4.2,
# AVX2 and AVX-512; with 8 or 32 rows, or odd widths, it does not (benchmarks/batch_bits.py).
BLOCK_ROWS, BLOCK_COLUMNS = 64, 8


class Standardize(nn.Module):
    """Centre and scale the last axis, or the last two.

    The statistics are float64 buffers whatever the precision of the network, so that
    values with a large offset (time stamps, say) keep their digits.

    Parameters
    ----------
    *shape : int
        Lengths of the last axes, to which the statistics belong.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(shape, dtype=torch.float64))

    def reset_parameters(self) -> None:
        """Set the statistics with which nothing changes."""
        self.mean.zero_()
        self.scale.fill_(1)

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean).div_(self.scale)

    def inverse(self, values: Tensor) -> Tensor:
        return values * self.scale + self.mean


def squash(scaled: Tensor) -> Tensor:
    """Leave scaled values as they are up to `FAR`, and let them grow as logarithms beyond."""
    near = scaled.clamp(-FAR, FAR)
    return (scaled - near).asinh().add_(near)


class Dense(nn.Linear):
    """A linear layer that, outside training, treats each row alike wherever it stands.

    A matrix product may round a row differently in batches of other sizes, and on other numbers
    of threads. So without gradients, rows are answered in blocks of a fixed size, filled up with
    zeros. On one thread that gives the same bits.
    """

    def forward(self, x: Tensor) -> Tensor:
        return linear_by_row(x, self.weight, self.bias, self.training)


def linear_by_row(x: Tensor, weight: Tensor, bias: Tensor | None, training: bool) -> Tensor:
    """Apply a linear function to the last axis; outside training, to each row alike."""
    if training or not x.is_cpu or torch.is_grad_enabled():
        return nn.functional.linear(x, weight, bias)
    rows, n_out = x.reshape(-1, x.shape[-1]), len(weight)
    n_rows, n_columns = len(rows), n_out + -n_out % BLOCK_COLUMNS
    weight = nn.functional.pad(weight, (0, 0, 0, n_columns - n_out))
    answers = rows.new_empty(n_rows + -n_rows % BLOCK_ROWS, n_columns)
    for first in range(0, n_rows, BLOCK_ROWS):
        block = rows[first : first + BLOCK_ROWS]
        if len(block) < BLOCK_ROWS:
            block = nn.functional.pad(block, (0, 0, 0, BLOCK_ROWS - len(block)))
        torch.mm(block, weight.T, out=answers[first : first + BLOCK_ROWS])
    y = answers[:n_rows, :n_out].reshape(*x.shape[:-1], n_out)
    return y if bias is None else y + bias


class Dropout(nn.Dropout):
    """Dropout that may draw from a generator of the caller's."""

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Set elements to zero at random, in training.

        Parameters
        ----------
        x : torch.Tensor
            Of any shape.

        generator : torch.Generator, default=None
            On the device of `x`. `None` draws from torch's global one.
        """
        if generator is None or not self.training or self.p == 0:
            return super().forward(x)
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=generator)
        return x * kept.div_(1 - self.p)


class LinearPath(nn.Module):
    """A linear function of the last steps, to which what a stack puts out is added.

    Its weights are buffers: they are set, not trained. All zero, they leave the stack alone.

    Parameters
    ----------
    n_features : int
        Features at each step.

    n_outputs : int
        Outputs.

    n_steps : int
        Last steps that it reads. Where a sequence has fewer, zeros stand before it.

    dtype : torch.dtype, default=None
        Type of the weights.

    Attributes
    ----------
    weight : torch.Tensor of shape (n_outputs, n_steps * n_features)
        Weights, all features of the earliest step first.

    bias : torch.Tensor of shape (n_outputs,)
        Constants.

    residual_scale : torch.Tensor of shape (n_outputs,)
        Units in which the stack answers.
    """

    weight: Tensor
    bias: Tensor
    residual_scale: Tensor

    def __init__(
        self, n_features: int, n_outputs: int, n_steps: int, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.n_steps = n_steps
        self.register_buffer("weight", torch.zeros(n_outputs, n_steps * n_features, dtype=dtype))
        self.register_buffer("bias", torch.zeros(n_outputs, dtype=dtype))
        self.register_buffer("residual_scale", torch.ones(n_outputs, dtype=dtype))

    def reset_parameters(self) -> None:
        """Set weights that leave the stack alone."""
        self.weight.zero_()
        self.bias.zero_()
        self.residual_scale.fill_(1)

    def forward(self, windows: Tensor) -> Tensor:
        return linear_by_row(windows, self.weight, self.bias, self.training)

    def windows(self, x: Tensor, lengths: Tensor | None, at_each_step: bool) -> Tensor:
        """Lay the steps to read side by side, at the end of each sequence or at each step of it.

        Returns
        -------
        torch.Tensor of shape (batch, [n_timesteps,] n_steps * n_features)
        """
        padded = nn.functional.pad(x, (0, 0, self.n_steps, 0))
        if at_each_step:
            windows = padded[:, 1:].unfold(1, self.n_steps, 1).mT
        elif lengths is None:
            windows = padded[:, -self.n_steps :]
        else:
            steps = lengths.to(x.device).unsqueeze(1) + torch.arange(self.n_steps, device=x.device)
            windows = padded.take_along_dim(steps.unsqueeze(2), dim=1)
        return windows.flatten(-2)


def dtype_of(layer: nn.Module) -> torch.dtype:
    """Type of the weights of an LSTM layer of either kind."""
    weights = (layer.forward_layer if isinstance(layer, Bidirectional) else layer).weight_ih_l0
    return weights.dtype  # type: ignore[return-value]


class Bidirectional(nn.Module):
    """Two LSTM layers, one of which reads each sequence from its own last step backwards.

    Two of them, because a single bidirectional ``nn.LSTM`` would start in the padding.
    """

    def __init__(self, width: int, units: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.forward_layer = nn.LSTM(width, units, batch_first=True, dtype=dtype)
        self.backward_layer = nn.LSTM(width, units, batch_first=True, dtype=dtype)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        backward = self.backward_layer(_reverse(x, lengths))[0]
        return torch.cat([self.forward_layer(x)[0], _reverse(backward, lengths)], dim=-1)


def _reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths.unsqueeze(1) - 1 - steps
    return x.take_along_dim(torch.where(mirrored < 0, steps, mirrored).unsqueeze(2), dim=1)


def at_end(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Output at the last step of each sequence."""
    if lengths is None:
        return sequence[:, -1]
    return sequence.take_along_dim((lengths - 1).view(-1, 1, 1), dim=1)[:, 0]


def mean(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Mean over the steps, added up one by one: padding changes no bit of it."""
    n_steps = sequence.shape[1] if lengths is None else lengths.unsqueeze(1)
    return at_end(sequence.cumsum(1), lengths) / n_steps


def maximum(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Maximum over the steps."""
    if lengths is not None:
        padding = torch.arange(sequence.shape[1], device=lengths.device) >= lengths.unsqueeze(1)
        sequence = sequence.masked_fill(padding.unsqueeze(2), -torch.inf)
    return sequence.amax(1)


class Plain(nn.Module):
    """No path around a layer: what it puts out goes up alone."""

    def forward(self, below: Tensor, output: Tensor) -> Tensor:
        return output


class Residual(nn.Module):
    """A path around a layer: what is below it goes up, plus what it puts out.

    Between layers of other widths a linear projection, without bias, is on the path.
    """

    def __init__(self, below: int, width: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.projection = (
            nn.Identity() if below == width else Dense(below, width, bias=False, dtype=dtype)
        )

    def forward(self, below: Tensor, output: Tensor) -> Tensor:
        path: Tensor = self.projection(below)
        return path + output


@torch.no_grad()
def draw_weights(layer: nn.Module, generator: torch.Generator | None) -> None:
    """Draw the weights of an ``nn.LSTM`` or ``nn.Linear`` as torch does, from a generator."""
    if isinstance(layer, nn.LSTM):
        bound = 1 / math.sqrt(layer.hidden_size)
        for weights in layer.parameters():
            nn.init.uniform_(weights, -bound, bound, generator=generator)
    elif isinstance(layer, nn.Linear):
        nn.init.kaiming_uniform_(layer.weight, math.sqrt(5), generator=generator)
        if layer.bias is not None:
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


@torch.no_grad()
def silence(layer: nn.Module) -> None:
    """Give an LSTM layer of either kind nothing to store, so that it puts out zeros.

    Its gates keep their weights: only those of the cell's candidate values are zero, and
    the gradient reaches them at once.
    """
    for part in layer.modules():
        if isinstance(part, nn.LSTM):
            for weights in part.parameters():
                _, _, candidate, _ = weights.chunk(4)
                candidate.zero_()


def run(layer: nn.Module, sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Output sequence of an LSTM layer of either kind."""
    if isinstance(layer, Bidirectional):
        return layer(sequence, lengths)
    outputs: Tensor = layer(sequence)[0]
    return outputs
