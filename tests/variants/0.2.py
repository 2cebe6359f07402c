# %% complex_absolute
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    x = frames - frames.mean(-1, keepdim=True)
    previous = torch.cat([x[..., :1], x[..., :-1]], dim=-1)
    return torch.fft.rfft((x - preemphasis * previous) * window, n=fft_size).abs() ** 2


# %% sines_and_cosines
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    x = frames.double() - frames.double().mean(-1, keepdim=True)
    y = x.clone()
    y[..., 1:] -= preemphasis * x[..., :-1]
    y[..., 0] -= preemphasis * x[..., 0]
    y = y * window
    n = torch.arange(y.shape[-1], dtype=torch.float64)
    k = torch.arange(fft_size // 2 + 1, dtype=torch.float64)
    angle = 2 * math.pi * n[:, None] * k[None, :] / fft_size
    real, imaginary = y @ torch.cos(angle), y @ torch.sin(angle)
    return (real**2 + imaginary**2).float()


# %% whole_transform
def power_spectrum(frames: Tensor, window: Tensor, preemphasis: float, fft_size: int) -> Tensor:
    x = torch.nn.functional.pad(frames - frames.mean(-1, keepdim=True), (0, fft_size - frames.shape[-1]))
    shifted = x.roll(1, dims=-1)
    shifted[..., 0] = x[..., 0]
    taper = torch.nn.functional.pad(window, (0, fft_size - window.shape[0]))
    spectrum = torch.fft.fft(taper * (x - preemphasis * shifted))
    return (spectrum * spectrum.conj()).real[..., : fft_size // 2 + 1]
