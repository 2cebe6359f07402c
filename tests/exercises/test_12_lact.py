"""Chapter 12: the memory's network, its gradient by hand, how fast it learns, how far it goes, and the two orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from teaching import expect, same
from torch import Tensor, nn
from torch.nn import functional as F

from asr_tutorial.config import LactConfig, ModelConfig
from asr_tutorial.lact.fast_weights import (
    FastWeights,
    Memory,
    apply_then_update,
    chunk_update,
    fast_gradient,
    orthogonalise,
    row_norms,
    swiglu,
    update_then_apply,
)
from asr_tutorial.masks import padding_mask

BATCH, HEADS, FRAMES, WIDTH, CHUNK = 2, 3, 10, 4, 4
NAMES = ("W0", "W1", "W2")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights_of(seed: int = 0, hidden: int = WIDTH, batch: int = 1) -> FastWeights:
    shapes = ((hidden, WIDTH), (WIDTH, hidden), (hidden, WIDTH))
    return FastWeights(*(random(batch, HEADS, *shape, seed=10 * seed + i) for i, shape in enumerate(shapes)))


def rows(seed: int, frames: int = FRAMES) -> Tensor:
    return random(BATCH, HEADS, frames, WIDTH, seed=100 + seed)


def rates_of(frames: int = FRAMES) -> Tensor:
    return 0.1 * random(3, BATCH, HEADS, frames, seed=7).abs()


def heads(*rows_of_numbers: list[float]) -> Tensor:
    """A matrix for one utterance and one head."""
    return torch.tensor(rows_of_numbers)[None, None]


def attempt(work: Callable[[], Any]) -> Any:
    """What comes out, or that nothing does: messages of errors differ between ways to write the same mistake."""
    try:
        return work()
    except (RuntimeError, ValueError, IndexError, TypeError):
        return "raises"


# ---------------------------------------------------------------------------------------------------- 12.1
SMALL = FastWeights(heads([1.0, 0.0]), heads([1.0], [-1.0]), heads([0.0, 2.0]))
"""One hidden unit: the gate reads the first number of a row, what it lets through is twice the second."""


@pytest.mark.exercise("12.1")
def test_a_row_by_hand():
    same(
        swiglu(SMALL, heads([1.0, 3.0])),
        heads([4.3864, -4.3864]),
        "W0 x = 1 and silu(1) = 1 * 0.7311; W2 x = 6; the hidden unit is 0.7311 * 6 = 4.3864, and W1 spreads it",
        tolerance=1e-4,
    )


@pytest.mark.exercise("12.1")
def test_a_gate_at_zero_is_shut():
    same(
        swiglu(SMALL, heads([0.0, 3.0], [-20.0, 3.0])),
        torch.zeros(1, 1, 2, 2),
        "silu(0) = 0 and silu(-20) is nearly 0: whatever W2 x is, nothing comes through",
    )


@pytest.mark.exercise("12.1")
def test_the_hidden_layer_may_be_wider():
    for hidden in (2, 7):
        weights, x = weights_of(hidden=hidden), rows(1)
        expected = F.silu(torch.einsum("bhtd,zhmd->bhtm", x, weights.w0))
        expected = expected * torch.einsum("bhtd,zhmd->bhtm", x, weights.w2)
        same(
            swiglu(weights, x),
            torch.einsum("bhtm,zhdm->bhtd", expected, weights.w1),
            f"rows of width {WIDTH} and {hidden} hidden units: x is a row here, so that W x is written x @ W.mT",
            tolerance=1e-4,
        )


@pytest.mark.exercise("12.1")
def test_each_utterance_and_each_head_has_weights_of_its_own():
    weights, x = weights_of(batch=BATCH), rows(1)
    got = swiglu(weights, x)
    for row in range(BATCH):
        for head in range(HEADS):
            one = FastWeights(*(matrix[row : row + 1, head : head + 1] for matrix in weights))
            same(
                got[row, head],
                swiglu(one, x[row : row + 1, head : head + 1])[0, 0],
                "after a chunk every utterance of a batch has learnt something else: nothing is mixed between them",
                tolerance=1e-4,
            )


def probe_swiglu(m: ModuleType) -> Iterator[Any]:
    yield m.swiglu(weights_of(), rows(1))
    yield m.swiglu(weights_of(3, batch=BATCH), rows(2, frames=WIDTH))
    yield attempt(lambda: m.swiglu(weights_of(hidden=7), rows(1)))


# ---------------------------------------------------------------------------------------------------- 12.2
def by_autograd(weights: FastWeights, keys: Tensor, values: Tensor, rates: Tensor) -> list[Tensor]:
    """Rate times negative gradient of -<f(k), v>, summed over frames, one matrix at a time."""
    found = []
    for which in range(3):
        leaves = [matrix.expand(len(keys), -1, -1, -1).detach().clone().requires_grad_() for matrix in weights]
        w0, w1, w2 = leaves
        answers = (F.silu(keys @ w0.mT) * (keys @ w2.mT)) @ w1.mT
        loss = -(rates[which] * (answers * values).sum(-1)).sum()
        found.append(-torch.autograd.grad(loss, leaves)[which])
    return found


@pytest.mark.exercise("12.2")
def test_a_gradient_by_hand():
    got = fast_gradient(SMALL, heads([1.0, 3.0]), heads([1.0, 0.0]), torch.ones(3, 1, 1, 1))
    why = {
        "W1": "v h^T with h = silu(1) * 6 = 4.3864",
        "W2": "g = W1^T v = 1, times silu(1) = 0.7311, times k^T = (1, 3)",
        "W0": "g * b * silu'(a) = 1 * 6 * 0.9277 = 5.5660, times k^T = (1, 3)",
    }
    expected = {
        "W0": heads([5.5660, 16.6980]),
        "W1": heads([4.3864], [0.0]),
        "W2": heads([0.7311, 2.1932]),
    }
    for name, matrix in zip(NAMES, got, strict=True):
        same(matrix, expected[name], f"{name}: {why[name]}; a = 1, b = 6 and silu'(1) = 0.9277", tolerance=1e-3)


@pytest.mark.exercise("12.2")
@pytest.mark.parametrize("which", range(3), ids=NAMES)
@pytest.mark.parametrize("hidden", [WIDTH, 7])
def test_autograd_finds_the_same(which, hidden):
    weights, keys, values, rates = weights_of(hidden=hidden), rows(2), rows(3), rates_of()
    same(
        fast_gradient(weights, keys, values, rates)[which],
        by_autograd(weights, keys, values, rates)[which],
        f"{NAMES[which]}: the sum over frames of rate times the negative gradient of -<f(k), v>, as autograd has it",
        tolerance=1e-4,
    )


@pytest.mark.exercise("12.2")
def test_a_frame_of_rate_zero_is_not_learnt():
    keys, values, rates = rows(2), rows(3), rates_of()
    rates[..., 5:] = 0.0
    loud = [torch.cat([part[:, :, :5], 50 * part[:, :, 5:]], dim=2) for part in (keys, values)]
    for name, usual, other in zip(
        NAMES,
        fast_gradient(weights_of(), keys, values, rates),
        fast_gradient(weights_of(), *loud, rates),
        strict=True,
    ):
        same(other, usual, f"{name}: frames whose rate is 0 are padding; however loud they are, they teach nothing")


@pytest.mark.exercise("12.2")
@pytest.mark.parametrize("which", range(3), ids=NAMES)
def test_each_matrix_has_its_own_rate(which):
    rates = torch.zeros(3, BATCH, HEADS, FRAMES)
    rates[which] = 0.1
    got = fast_gradient(weights_of(), rows(2), rows(3), rates)
    moved = [name for name, matrix in zip(NAMES, got, strict=True) if bool(matrix.abs().max() > 1e-6)]
    expect(
        moved == [NAMES[which]],
        f"only {NAMES[which]} moves",
        f"{moved or 'nothing'} moves",
        f"rates[{which}] is the learning rate of {NAMES[which]}; those of the other two are 0",
    )


@pytest.mark.exercise("12.2")
def test_training_can_differentiate_it():
    weights, keys, values, rates = weights_of(), rows(2), rows(3), rates_of()
    given = {"keys": keys, "values": values, "rates": rates, "W0": weights.w0, "W1": weights.w1, "W2": weights.w2}
    for tensor in given.values():
        tensor.requires_grad_()
    got = fast_gradient(weights, keys, values, rates)
    expect(
        all(matrix.requires_grad for matrix in got),
        "an update that has a derivative",
        "one that is cut off from what it was made of",
        "training asks how keys, values, rates and first weights should change so that what is learnt here helps",
    )
    grads = torch.autograd.grad(sum(matrix.square().sum() for matrix in got), list(given.values()), allow_unused=True)
    missing = [
        name for name, grad in zip(given, grads, strict=True) if grad is None or not bool(grad.abs().max() > 1e-8)
    ]
    expect(not missing, "a derivative by each of them", f"none by {missing}", "the update depends on all of them")


@pytest.mark.exercise("12.2")
def test_it_works_where_autograd_is_switched_off():
    weights, keys, values, rates = weights_of(), rows(2), rows(3), rates_of()
    with torch.inference_mode():
        got = fast_gradient(weights, keys, values, rates)
    for name, matrix, expected in zip(NAMES, got, by_autograd(weights, keys, values, rates), strict=True):
        same(
            matrix, expected, f"{name}: a recogniser runs in inference mode, and learns while it reads", tolerance=1e-4
        )


def probe_gradient(m: ModuleType) -> Iterator[Any]:
    yield attempt(lambda: list(m.fast_gradient(SMALL, heads([1.0, 3.0]), heads([1.0, 0.0]), torch.ones(3, 1, 1, 1))))
    for hidden in (WIDTH, 7):
        yield attempt(lambda hidden=hidden: list(m.fast_gradient(weights_of(1, hidden), rows(2), rows(3), rates_of())))
    with torch.inference_mode():
        yield attempt(lambda: list(m.fast_gradient(weights_of(), rows(2), rows(3), rates_of())))
    keys = rows(2).requires_grad_()
    got = attempt(lambda: m.fast_gradient(weights_of(), keys, rows(3), rates_of()))
    yield got if isinstance(got, str) else [float(matrix.requires_grad) for matrix in got]


# ---------------------------------------------------------------------------------------------------- 12.3
def memory_of(base: float = 0.01) -> Memory:
    torch.manual_seed(0)
    return Memory(ModelConfig(d_model=12, lact=LactConfig(heads=HEADS, base_lr=base)))


LENGTHS = padding_mask(torch.tensor([6, 4]))
"""Two utterances of 6 and 4 frames."""


@pytest.mark.exercise("12.3")
@pytest.mark.parametrize("base", [1e-4, 0.01, 2.0])
def test_rates_begin_at_the_base_rate(base):
    memory = memory_of(base)
    nn.init.zeros_(memory.rate_head.weight)
    got = memory.learning_rates(random(2, 6, 12), LENGTHS)
    same(
        got[:, 0] / base if got.dim() == 4 else got,
        torch.ones(3, HEADS, 6),
        f"where the linear layer says 0, the rate is softplus(self.base_rate) = {base:g}; here rates are divided by it",
        tolerance=1e-3,
    )


@pytest.mark.exercise("12.3")
def test_matrices_first_then_utterances_heads_and_frames():
    memory, x = memory_of(), random(2, 6, 12)
    got = memory.learning_rates(x, LENGTHS)
    expect(
        tuple(got.shape) == (3, 2, HEADS, 6),
        f"shape (3, 2, {HEADS}, 6): (matrix, batch, heads, frames)",
        f"shape {tuple(got.shape)}",
        "fast_gradient takes the rates of W0, W1 and W2 along the first axis",
    )
    said = F.linear(x, memory.rate_head.weight, memory.rate_head.bias) + memory.base_rate
    for which in range(3):
        for head in range(HEADS):
            same(
                got[which, 0, head],
                F.softplus(said[0, :, which * HEADS + head]),
                f"of the {3 * HEADS} outputs of rate_head the first {HEADS} belong to W0, one for each head, the next "
                f"{HEADS} to W1, the last to W2; this is {NAMES[which]}, head {head}",
            )


@pytest.mark.exercise("12.3")
def test_a_rate_is_never_negative():
    memory = memory_of()
    with torch.no_grad():
        memory.rate_head.weight.mul_(20)
    got = memory.learning_rates(random(2, 6, 12), LENGTHS)
    expect(
        bool((got >= 0).all()),
        "rates of at least 0",
        f"{float(got.detach().min()):.3f}",
        "below 0 a frame would be unlearnt",
    )


@pytest.mark.exercise("12.3")
def test_padding_is_not_learnt():
    got = memory_of().learning_rates(random(2, 6, 12), LENGTHS)
    same(
        got[:, 1, :, 4:],
        torch.zeros(3, HEADS, 2),
        "frames 4 and 5 of the second utterance are padding: their rate is 0, exactly, after all else is done",
    )
    expect(
        bool((got[:, 1, :, :4] > 0).all() and (got[:, 0] > 0).all()),
        "rates above 0 for real frames",
        "some of 0",
        "padding has True for real frames",
    )


@pytest.mark.exercise("12.3")
def test_rates_have_32_bits_whatever_the_model_has():
    memory, x = memory_of().bfloat16(), random(2, 6, 12).bfloat16()
    got = memory.learning_rates(x, LENGTHS)
    expect(got.dtype == torch.float32, "float32", got.dtype, "small rates times small gradients are lost in 16 bits")
    head = memory.rate_head
    said = F.linear(x.float(), head.weight.float(), head.bias.float()) + memory.base_rate
    same(
        got[:, 0].flatten(0, 1),
        F.softplus(said[0]).T,
        "numbers are made float32 before the product, not after it: what 16 bits have rounded off does not come back",
        tolerance=1e-5,
    )


def probe_rates(m: ModuleType) -> Iterator[Any]:
    for base in (0.01, 2.0):
        torch.manual_seed(0)
        memory = m.Memory(ModelConfig(d_model=12, lact=LactConfig(heads=HEADS, base_lr=base)))
        yield memory.learning_rates(random(2, 6, 12), LENGTHS) / base
    memory = memory.bfloat16()
    yield attempt(lambda: memory.learning_rates(random(2, 6, 12).bfloat16(), LENGTHS))


# ---------------------------------------------------------------------------------------------------- 12.4
def spectrum(given: Tensor, got: Tensor) -> tuple[Tensor, Tensor]:
    """The result seen along the singular vectors of what was given: its diagonal, and what stands beside it."""
    u, _, vt = torch.linalg.svd(given, full_matrices=False)
    inner = u.mT @ got @ vt.mT
    values = inner.diagonal(dim1=-2, dim2=-1)
    return values, inner - torch.diag_embed(values)


def known(*shape: int) -> Tensor:
    """Matrices with singular values 4, 2, 1 and 0.5."""
    u, _, vt = torch.linalg.svd(random(*shape), full_matrices=False)
    return u @ torch.diag(torch.tensor([4.0, 2.0, 1.0, 0.5])) @ vt


@pytest.mark.exercise("12.4")
def test_one_step_by_hand():
    same(
        orthogonalise(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), steps=1),
        torch.tensor([[1.1932, 0.0], [0.0, 0.9763]]),
        "divided by its length 5 the matrix has 0.6 and 0.8 on its diagonal; 3.4445 s - 4.775 s^3 + 2.0315 s^5 of 0.6 "
        "is 1.1932, of 0.8 it is 0.9763 (sizes of the matrix do not matter, its length does)",
        tolerance=2e-3,
    )


@pytest.mark.exercise("12.4")
@pytest.mark.parametrize("shape", [(4, 4), (4, 7), (7, 4), (2, 3, 7, 4)])
def test_singular_values_come_close_to_one(shape):
    given = known(*shape)
    got = orthogonalise(given)
    same(got.shape, shape, "the result has the shape of what was given, also where it has more rows than columns")
    values, beside = spectrum(given, got)
    expect(
        float(values.min()) > 0.6 and float(values.max()) < 1.3,
        "singular values between 0.6 and 1.3",
        f"{float(values.min()):.3f} to {float(values.max()):.3f}",
        "five steps bring 4, 2, 1 and 0.5 close to 1",
    )
    same(beside, torch.zeros_like(beside), "the singular vectors stay what they were", tolerance=1e-3)


@pytest.mark.exercise("12.4")
def test_the_size_of_a_matrix_plays_no_part():
    given = random(2, 3, 4, 6)
    sizes = torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    same(
        orthogonalise(given * sizes),
        orthogonalise(given),
        "each matrix of the batch is divided by its own length first: a thousandfold gradient gives the same step",
        tolerance=1e-3,
    )


@pytest.mark.exercise("12.4")
def test_zeros_stay_zeros():
    same(orthogonalise(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4), "nothing to learn is no step, and not NaN")


@pytest.mark.exercise("12.4")
def test_the_number_of_steps_is_kept():
    same(
        orthogonalise(3 * torch.eye(4), steps=0),
        0.5 * torch.eye(4),
        "without a step the matrix is only divided by its length, here 6",
    )


def probe_orthogonalise(m: ModuleType) -> Iterator[Any]:
    yield m.orthogonalise(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 1)
    for shape in ((4, 4), (4, 7), (2, 3, 4, 7)):
        for steps in (0, 1, 2, 5):
            yield torch.nan_to_num(m.orthogonalise(known(*shape) / 8, steps), 9, 9, 9).clamp(-9, 9)
    yield torch.nan_to_num(m.orthogonalise(30 * known(4, 5), 1), 9, 9, 9).clamp(-9, 9)
    yield torch.nan_to_num(m.orthogonalise(torch.zeros(2, 3, 4)), 9, 9, 9)
    yield m.orthogonalise(known(7, 4) / 8, 1)


# ---------------------------------------------------------------------------------------------------- 12.5
def named(weights: FastWeights) -> Iterator[tuple[str, Tensor]]:
    return zip(NAMES, weights, strict=True)


def stretched(moved: Tensor, norms: Tensor) -> Tensor:
    return moved / moved.norm(dim=-1, keepdim=True) * norms


@pytest.mark.exercise("12.5")
def test_a_step_by_hand():
    weights = FastWeights(*(heads([3.0, 4.0]) for _ in range(3)))
    gradient = FastWeights(*(heads([3.0, 4.0]) for _ in range(3)))
    across = FastWeights(*(heads([5.0, -4.0]) for _ in range(3)))
    got, _ = chunk_update(weights, gradient, row_norms(weights), muon=False)
    same(got[0], heads([3.0, 4.0]), "(3, 4) + (3, 4) = (6, 8) has length 10; brought back to length 5 it is (3, 4)")
    got, _ = chunk_update(weights, across, row_norms(weights), muon=False)
    same(got[0], heads([5.0, 0.0]), "(3, 4) + (5, -4) = (8, 0) has length 8; brought back to length 5 it is (5, 0)")


@pytest.mark.exercise("12.5")
def test_momentum_comes_first():
    weights, gradient, velocity = weights_of(0, batch=BATCH), weights_of(1, batch=BATCH), weights_of(2, batch=BATCH)
    momentum = torch.tensor([[0.9, 0.5, 0.0], [0.1, 1.0, 0.3]])
    got, kept = chunk_update(weights, gradient, row_norms(weights), velocity, momentum, muon=False)
    share = momentum[:, :, None, None]
    for i, (name, matrix) in enumerate(named(got)):
        expected = gradient[i] + share * velocity[i]
        same(kept[i], expected, f"{name}: velocity <- gradient + momentum * velocity, each head with its own momentum")
        same(
            matrix,
            stretched(weights[i] + expected, row_norms(weights)[i]),
            f"{name}: the new velocity is what is added, not the gradient alone; then rows get their length back",
        )


@pytest.mark.exercise("12.5")
def test_without_velocity_or_momentum_the_gradient_is_the_step():
    weights, gradient, half = weights_of(0), weights_of(1), torch.full((1, HEADS), 0.5)
    for velocity, momentum, case in ((None, half, "the first chunk"), (weights_of(2), None, "no momentum")):
        _, kept = chunk_update(weights, gradient, row_norms(weights), velocity, momentum, muon=False)
        for i, (name, matrix) in enumerate(named(kept)):
            same(matrix, gradient[i], f"{name}, {case}: there is nothing to keep of what was before")


@pytest.mark.exercise("12.5")
def test_muon_works_on_the_velocity_and_leaves_it_alone():
    weights, gradient, velocity = weights_of(0), weights_of(1), weights_of(2)
    got, kept = chunk_update(weights, gradient, row_norms(weights), velocity, torch.full((1, HEADS), 0.5), muon=True)
    for i, (name, matrix) in enumerate(named(got)):
        expected = gradient[i] + 0.5 * velocity[i]
        same(
            kept[i], expected, f"{name}: the velocity gathers gradients; only the step that is made of it is orthogonal"
        )
        same(
            matrix,
            stretched(weights[i] + orthogonalise(expected), row_norms(weights)[i]),
            f"{name}: momentum first, then muon, then the sum, then the length of the rows",
            tolerance=1e-4,
        )


@pytest.mark.exercise("12.5")
@pytest.mark.parametrize("muon", [True, False])
def test_rows_get_the_lengths_that_they_began_with(muon):
    weights, first = weights_of(0), row_norms(weights_of(5))
    got, _ = chunk_update(weights, weights_of(1), first, muon=muon)
    for i, (name, matrix) in enumerate(named(got)):
        same(
            matrix.norm(dim=-1, keepdim=True),
            first[i],
            f"{name}: each row has the length given in norms, whatever length it has now; these weights have others",
        )


@pytest.mark.exercise("12.5")
def test_what_is_given_is_not_changed():
    given = [weights_of(0), weights_of(1), row_norms(weights_of(0)), weights_of(2)]
    before = [[matrix.clone() for matrix in part] for part in given]
    chunk_update(*given, torch.full((1, HEADS), 0.5), muon=False)
    for part, copies in zip(given, before, strict=True):
        for matrix, copy in zip(part, copies, strict=True):
            same(matrix, copy, "the first weights are parameters of the model: work on new tensors")


def probe_update(m: ModuleType) -> Iterator[Any]:
    half = torch.tensor([[0.5, 0.9, 0.2]])
    for muon in (False, True):
        for velocity, momentum in ((None, None), (None, half), (weights_of(2), None), (weights_of(2), half)):
            norms = row_norms(weights_of(0))
            got, kept = m.chunk_update(weights_of(0), weights_of(1), norms, velocity, momentum, muon)
            yield [*got, *kept]
    got, kept = m.chunk_update(weights_of(0), weights_of(1), row_norms(weights_of(5)))
    yield [*got, *kept]


# ---------------------------------------------------------------------------------------------------- 12.6
Read = Callable[..., Tensor]


def read(
    order: Read, muon: bool = False, momentum: Tensor | None = None, chunk: int = CHUNK, **changed: Tensor
) -> Tensor:
    """Ten frames in chunks of four: two whole ones and half a one."""
    parts = {"queries": rows(1), "keys": rows(2), "values": rows(3), "rates": rates_of(), **changed}
    return order(
        weights_of(), parts["queries"], parts["keys"], parts["values"], parts["rates"], momentum, chunk=chunk, muon=muon
    )


MOMENTUM = torch.tensor([0.5, 0.9, 0.2])[None, None] * torch.ones(BATCH, HEADS, 1)
"""Of three chunks."""


def piece(number: int) -> tuple[Tensor, Tensor, Tensor]:
    part = slice(number * CHUNK, (number + 1) * CHUNK)
    return rows(2)[:, :, part], rows(3)[:, :, part], rates_of()[..., part]


@pytest.mark.exercise("12.6")
@pytest.mark.parametrize("muon", [False, True])
def test_both_directions_learn_from_everything_first(muon):
    weights = weights_of()
    gradient = fast_gradient(weights, rows(2), rows(3), rates_of())
    learnt, _ = chunk_update(weights, gradient, row_norms(weights), muon=muon)
    same(
        read(update_then_apply, muon),
        swiglu(learnt, rows(1)),
        "one gradient of all frames at the first weights, one step, and then every query is answered by what came out",
        tolerance=1e-4,
    )


@pytest.mark.exercise("12.6")
@pytest.mark.parametrize("chunk", [1, 3, 10, 64])
def test_without_momentum_chunks_make_no_difference_in_both_directions(chunk):
    same(
        read(update_then_apply, chunk=chunk),
        read(update_then_apply),
        f"chunks of {chunk} against chunks of {CHUNK}: the gradients of all chunks are taken at the same weights and "
        "added, so that it does not matter where the cuts are",
        tolerance=1e-4,
    )


@pytest.mark.exercise("12.6")
def test_momentum_in_both_directions_weighs_earlier_chunks_less():
    weights, velocity = weights_of(), None
    for number in range(3):
        gradient = fast_gradient(weights, *piece(number))
        _, velocity = chunk_update(weights, gradient, row_norms(weights), velocity, MOMENTUM[..., number], muon=False)
    learnt, _ = chunk_update(weights, velocity, row_norms(weights), muon=False)
    same(
        read(update_then_apply, momentum=MOMENTUM),
        swiglu(learnt, rows(1)),
        "the velocity after the last chunk: with momentum 0.5, 0.9 and 0.2 the gradient of chunk 0 counts 0.9 * 0.2, "
        "that of chunk 1 counts 0.2 and that of chunk 2 counts 1; the momentum of chunk 0 has nothing to keep",
        tolerance=1e-4,
    )


@pytest.mark.exercise("12.6")
@pytest.mark.parametrize("momentum", [None, MOMENTUM], ids=["plain", "momentum"])
def test_the_first_causal_chunk_is_answered_by_the_first_weights(momentum):
    got = read(apply_then_update, momentum=momentum)
    same(tuple(got.shape), (BATCH, HEADS, FRAMES, WIDTH), "one answer for each query, those of the last chunk too")
    same(
        got[:, :, :CHUNK],
        swiglu(weights_of(), rows(1)[:, :, :CHUNK]),
        "nothing was learnt before the first chunk: apply first, then update",
        tolerance=1e-4,
    )


@pytest.mark.exercise("12.6")
def test_no_causal_answer_knows_its_own_chunk_or_a_later_one():
    usual = read(apply_then_update)
    for name in ("keys", "values"):
        changed = {"keys": rows(2), "values": rows(3)}
        changed[name][:, :, CHUNK] += 3.0  # the first frame of the second chunk
        other = read(apply_then_update, **changed)
        same(
            other[:, :, : 2 * CHUNK],
            usual[:, :, : 2 * CHUNK],
            f"{name} of frame {CHUNK} are in the second chunk: its answers are given before it is learnt from",
        )
        expect(
            bool((other[:, :, 2 * CHUNK :] - usual[:, :, 2 * CHUNK :]).abs().max() > 1e-4),
            "other answers in the third chunk",
            "the same ones",
            f"{name} of the second chunk have been learnt by then",
        )


@pytest.mark.exercise("12.6")
@pytest.mark.parametrize("muon", [False, True])
@pytest.mark.parametrize("momentum", [None, MOMENTUM], ids=["plain", "momentum"])
def test_each_causal_chunk_starts_from_what_the_one_before_has_left(muon, momentum):
    weights, norms, velocity, answers = weights_of(), row_norms(weights_of()), None, []
    for number in range(3):
        answers.append(swiglu(weights, rows(1)[:, :, number * CHUNK : (number + 1) * CHUNK]))
        kept = None if momentum is None else momentum[..., number]
        weights, velocity = chunk_update(weights, fast_gradient(weights, *piece(number)), norms, velocity, kept, muon)
    same(
        read(apply_then_update, muon, momentum),
        torch.cat(answers, dim=2),
        "the gradient of a chunk is taken at the weights as they are by then, the velocity is handed on, and rows keep "
        "the lengths of the first weights",
        tolerance=1e-3,
    )


@pytest.mark.exercise("12.6")
@pytest.mark.parametrize("order", [update_then_apply, apply_then_update])
def test_padding_behind_an_utterance_changes_nothing(order):
    frames = 7
    rates = rates_of()
    rates[..., frames:] = 0.0
    short = {
        name: value[:, :, :frames] for name, value in {"queries": rows(1), "keys": rows(2), "values": rows(3)}.items()
    }
    same(
        read(order, rates=rates)[:, :, :frames],
        read(order, rates=rates_of()[..., :frames], **short),
        "padding has rates of 0; an utterance is answered in the same way alone and in a batch",
        tolerance=1e-4,
    )


def probe_orders(m: ModuleType) -> Iterator[Any]:
    for order in (m.update_then_apply, m.apply_then_update):
        for muon in (False, True):
            for momentum, chunk in ((None, CHUNK), (MOMENTUM, CHUNK), (None, 5), (None, FRAMES)):
                yield attempt(
                    lambda order=order, muon=muon, momentum=momentum, chunk=chunk: read(order, muon, momentum, chunk)
                )


PROBES = {
    "12.1": probe_swiglu,
    "12.2": probe_gradient,
    "12.3": probe_rates,
    "12.4": probe_orthogonalise,
    "12.5": probe_update,
    "12.6": probe_orders,
}
