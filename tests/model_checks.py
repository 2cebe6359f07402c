"""What the tests of the model share: a comparison that says why it matters, and settings of a very small model."""

from typing import Any

import torch
from torch import Tensor, nn

from asr_tutorial.config import Config, ModelConfig, from_dict
from asr_tutorial.masks import padding_mask
from asr_tutorial.model import SpeechTransformer, build_model

VOCAB_SIZE = 11
SMALL: dict[str, Any] = {
    "d_model": 16,
    "num_heads": 2,
    "d_ff": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "subsampling_channels": 4,
    "max_length": 60,
    "dropout": 0.0,
}


def assert_same(got: Tensor, expected: Tensor, why: str, tolerance: float = 1e-5) -> None:
    """Equal shapes, and values no further apart than ``tolerance``; NaN is never equal."""
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance, msg=lambda text: f"{why}\n{text}")


def model_config(**changes: object) -> ModelConfig:
    return ModelConfig(**{**SMALL, **changes})  # type: ignore[arg-type]


def small_config(normalize: str = "global", **model: object) -> Config:
    """A recogniser of a few thousand parameters for 8 mel bins."""
    training = {"ctc_weight": 1.0, "validation_search": "ctc"} if model.get("decoder_layers") == 0 else {}
    features = {"n_mels": 8, "normalize": normalize}
    return from_dict(Config, {"features": features, "model": {**SMALL, **model}, "training": training})


def small_model(normalize: str = "global", **model: object) -> SpeechTransformer:
    """The same random weights at each call, and features of 10 +- 4 brought to about zero, in evaluation mode."""
    torch.manual_seed(0)
    network = build_model(small_config(normalize, **model), VOCAB_SIZE).eval()
    network.normalize.mean.fill_(10.0)
    network.normalize.inverse_std.fill_(0.25)
    return network


def listening_model(eos: int) -> SpeechTransformer:
    """Random weights that let the encoder be heard, so that a search ends at another step for each utterance."""
    model = small_model(decoder_layers=2)
    assert model.decoder is not None
    torch.manual_seed(1)
    nn.init.normal_(model.decoder.out.weight)
    for layer in model.decoder.layers:
        nn.init.normal_(layer.cross_attention.out_proj.weight)
    with torch.no_grad():
        model.decoder.out.bias[eos] = 2.0
    return model


def encoder_states(lengths: list[int]) -> tuple[Tensor, Tensor]:
    """Random encoder states of :func:`listening_model`, the same for a length in any batch, and their mask."""
    encoder_out = torch.zeros(len(lengths), max(lengths), SMALL["d_model"])
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(length)
        encoder_out[row, :length] = 3 * torch.randn(length, SMALL["d_model"], generator=generator)
    return encoder_out, padding_mask(torch.tensor(lengths))


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """The gradient of each parameter by name; zeros where nothing arrived."""
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in module.named_parameters()
    }
