# %% distance_to_peak
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return torch.log(1 + hertz / 700) * 1127


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    if high_freq <= 0:
        high_freq += sample_rate / 2
    low, high = hertz_to_mel(torch.tensor([low_freq, high_freq], dtype=torch.float64)).tolist()
    step = (high - low) / (n_mels + 1)
    peaks = low + step * torch.arange(1, n_mels + 1, dtype=torch.float64)
    bins = hertz_to_mel(torch.linspace(0, sample_rate / 2, fft_size // 2 + 1, dtype=torch.float64))
    return torch.relu(1 - (bins[:, None] - peaks[None, :]).abs() / step).float()


# %% loop
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hertz / 700)


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    top = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
    points = [mel(low_freq) + i * (mel(top) - mel(low_freq)) / (n_mels + 1) for i in range(n_mels + 2)]
    weights = torch.zeros(fft_size // 2 + 1, n_mels)
    for k in range(fft_size // 2 + 1):
        x = mel(k * sample_rate / fft_size)
        for m in range(n_mels):
            left, peak, right = points[m : m + 3]
            if left < x <= peak:
                weights[k, m] = (x - left) / (peak - left)
            elif peak < x < right:
                weights[k, m] = (right - x) / (right - peak)
    return weights
