# %% mutant magnitude
# The magnitude of the spectrum instead of its square. After the logarithm every value is halved (log of a square root),
# so nothing looks wrong, but the features no longer agree with those of Kaldi or of a trained model.
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    centred = frames - frames.mean(dim=-1, keepdim=True)
    first = centred[..., :1] * (1 - preemphasis)
    rest = centred[..., 1:] - preemphasis * centred[..., :-1]
    return torch.fft.rfft(torch.cat([first, rest], dim=-1) * window, n=fft_size).abs()


# %% rewritten magnitude
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    values = (frames - frames.mean(-1, True)).double()
    before = torch.cat([values[..., :1], values[..., :-1]], -1)
    spectrum = torch.fft.fft((values - preemphasis * before) * window, fft_size)[..., : fft_size // 2 + 1]
    return (spectrum.real**2 + spectrum.imag**2).sqrt()


# %% mutant no_window
# The window is not used. A frame then starts and ends with a jump, and each strong tone spreads over the whole
# spectrum: the weak bands show the jump, not the voice.
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    centred = frames - frames.mean(dim=-1, keepdim=True)
    first = centred[..., :1] * (1 - preemphasis)
    rest = centred[..., 1:] - preemphasis * centred[..., :-1]
    return torch.fft.rfft(torch.cat([first, rest], dim=-1), n=fft_size).abs().square()


# %% rewritten no_window
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    values = (frames - frames.mean(-1, True)).double()
    before = torch.cat([values[..., :1], values[..., :-1]], -1)
    angle = torch.arange(values.shape[-1], dtype=torch.float64)[:, None] * torch.arange(fft_size // 2 + 1)
    angle = angle * (2 * math.pi / fft_size)
    values = values - preemphasis * before
    return (values @ angle.cos()) ** 2 + (values @ angle.sin()) ** 2


# %% mutant no_preemphasis
# Pre-emphasis is left out. Speech falls by some 6 to 12 dB an octave, so the high bands, where consonants live, stay
# far weaker than the low ones.
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    centred = frames - frames.mean(dim=-1, keepdim=True)
    return torch.fft.rfft(centred * window, n=fft_size).abs().square()


# %% rewritten no_preemphasis
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    values = (frames.double() - frames.double().mean(-1, True)) * window
    spectrum = torch.fft.fft(values, fft_size)[..., : fft_size // 2 + 1]
    return (spectrum * spectrum.conj()).real.float()


# %% mutant window_before_preemphasis
# Window and pre-emphasis are in the wrong order: the difference of neighbours then also holds the slope of the window.
# The effect is small enough to survive many listening tests, and large enough to break agreement with other toolkits.
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    values = (frames - frames.mean(dim=-1, keepdim=True)) * window
    first = values[..., :1] * (1 - preemphasis)
    rest = values[..., 1:] - preemphasis * values[..., :-1]
    return torch.fft.rfft(torch.cat([first, rest], dim=-1), n=fft_size).abs().square()


# %% rewritten window_before_preemphasis
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    values = torch.einsum("...n,n->...n", frames - frames.mean(-1, True), window).double()
    before = values.roll(1, -1)
    before[..., 0] = values[..., 0]
    spectrum = torch.fft.fft(values - preemphasis * before, fft_size)[..., : fft_size // 2 + 1]
    return (spectrum.real**2 + spectrum.imag**2).float()


# %% mutant offset_kept
# The mean of the frame is not subtracted. A cheap sound card's constant offset then leaks into the lowest bins of every
# frame, as loud as speech.
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    first = frames[..., :1] * (1 - preemphasis)
    rest = frames[..., 1:] - preemphasis * frames[..., :-1]
    return torch.fft.rfft(torch.cat([first, rest], dim=-1) * window, n=fft_size).abs().square()


# %% rewritten offset_kept
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    values = frames.double()
    before = torch.cat([values[..., :1], values[..., :-1]], -1)
    spectrum = torch.fft.fft((values - preemphasis * before) * window, fft_size)[..., : fft_size // 2 + 1]
    return spectrum.real**2 + spectrum.imag**2


# %% mutant first_sample_kept
# The first sample of each frame passes as it is, though pre-emphasis takes it for its own predecessor. Where the window
# does not begin at zero, each frame starts with a jump.
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    centred = frames - frames.mean(dim=-1, keepdim=True)
    rest = centred[..., 1:] - preemphasis * centred[..., :-1]
    return torch.fft.rfft(torch.cat([centred[..., :1], rest], dim=-1) * window, n=fft_size).abs().square()


# %% rewritten first_sample_kept
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    values = (frames - frames.mean(-1, True)).double()
    before = torch.nn.functional.pad(values, (1, 0))[..., :-1]
    spectrum = torch.fft.fft((values - preemphasis * before) * window, fft_size)[..., : fft_size // 2 + 1]
    return spectrum.real**2 + spectrum.imag**2
