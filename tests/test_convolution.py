"""Our convolution and masked ReLU against PyTorch's."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from asr_tutorial.convolution import Conv2d, masked_relu


def pair(channels: int, **kwargs) -> tuple[Conv2d, nn.Conv2d]:
    torch.manual_seed(0)
    ours = Conv2d(channels, 6, kernel_size=3, **kwargs)
    theirs = nn.Conv2d(channels, 6, kernel_size=3, **kwargs)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("kwargs", [{"stride": 2, "padding": 1}, {"padding": 1}, {"stride": 2, "bias": False}])
def test_output_and_gradients_are_pytorchs(channels, kwargs):
    ours, theirs = pair(channels, **kwargs)
    x = torch.randn(2, channels, 11, 8)
    for module in (ours, theirs):
        module.x = x.clone().requires_grad_()
        module.y = module(module.x)
        module.y.square().sum().backward()
    torch.testing.assert_close(ours.y, theirs.y)
    torch.testing.assert_close(ours.x.grad, theirs.x.grad)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_gradients_in_float64():
    ours, _ = pair(3, stride=2, padding=1)
    ours.double()
    x = torch.randn(1, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ours(x).contiguous(), (x,))


def test_parameters_keep_their_layout_and_may_be_frozen():
    ours, _ = pair(4, stride=2, padding=1)
    ours.weight.requires_grad_(False)
    ours(torch.randn(2, 4, 9, 8)).sum().backward()
    assert ours.weight.grad is None
    assert ours.bias.grad is not None
    assert ours.weight.is_contiguous()


def test_under_autocast():
    ours, theirs = pair(4, stride=2, padding=1)
    x = torch.randn(2, 4, 9, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16
        torch.testing.assert_close(ours(x), theirs(x))


def test_masked_relu_is_relu_and_mask():
    lengths = torch.tensor([5, 3])
    real = (torch.arange(5) < lengths[:, None])[:, None, :, None]
    x = torch.randn(2, 3, 5, 4)
    results = []
    for function in (lambda x: masked_relu(x, real), lambda x: F.relu(x) * real):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        y.square().sum().backward()
        results.append((y.detach(), leaf.grad))
        with torch.no_grad():
            torch.testing.assert_close(function(x.clone()), y.detach())
    torch.testing.assert_close(results[0], results[1])


def test_hooks_see_an_unchanged_output_in_training():
    ours, _ = pair(1, stride=2, padding=1)
    seen = []
    ours.register_full_backward_hook(lambda module, grad_in, grad_out: seen.append(grad_out[0]))
    masked_relu(ours(torch.randn(2, 1, 9, 8)), torch.tensor(True)).sum().backward()
    assert len(seen) == 1
