# %% mutant straight_in_hertz
# The feet and peaks are right, but the sides of the triangles are straight in hertz. Here they are straight in mel, as
# in Kaldi. Some toolkits do it the other way; features of the one do not fit a model trained on those of the other.
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    high = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
    limits = hertz_to_mel(torch.tensor([low_freq, high], dtype=torch.float64))
    points = torch.linspace(float(limits[0]), float(limits[1]), n_mels + 2, dtype=torch.float64)
    points = 700 * torch.expm1(points / 1127)
    left, peak, right = points[:-2], points[1:-1], points[2:]
    bins = torch.arange(fft_size // 2 + 1, dtype=torch.float64).unsqueeze(1) * sample_rate / fft_size
    rising, falling = (bins - left) / (peak - left), (right - bins) / (right - peak)
    return torch.minimum(rising, falling).clamp(min=0).float()


# %% rewritten straight_in_hertz
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * (1 + hertz / 700.0).log()


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    if high_freq <= 0:
        high_freq = sample_rate / 2 + high_freq
    low, high = 1127 * math.log(1 + low_freq / 700), 1127 * math.log(1 + high_freq / 700)
    hertz = [700 * (math.exp((low + i * (high - low) / (n_mels + 1)) / 1127) - 1) for i in range(n_mels + 2)]
    weights = torch.zeros(fft_size // 2 + 1, n_mels)
    for k in range(fft_size // 2 + 1):
        f = k * sample_rate / fft_size
        for m in range(n_mels):
            if hertz[m] < f <= hertz[m + 1]:
                weights[k, m] = (f - hertz[m]) / (hertz[m + 1] - hertz[m])
            elif hertz[m + 1] < f < hertz[m + 2]:
                weights[k, m] = (hertz[m + 2] - f) / (hertz[m + 2] - hertz[m + 1])
    return weights


# %% mutant equal_in_hertz
# The filters are equally wide in hertz. The point of the mel scale is lost: below 1000 Hz, where vowels differ, few
# filters are left, and most of them look at hiss.
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    high = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
    points = torch.linspace(low_freq, high, n_mels + 2, dtype=torch.float64)
    left, peak, right = points[:-2], points[1:-1], points[2:]
    bins = torch.arange(fft_size // 2 + 1, dtype=torch.float64).unsqueeze(1) * sample_rate / fft_size
    rising, falling = (bins - left) / (peak - left), (right - bins) / (right - peak)
    return torch.minimum(rising, falling).clamp(min=0).float()


# %% rewritten equal_in_hertz
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * (1 + hertz / 700.0).log()


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    if high_freq <= 0:
        high_freq = sample_rate / 2 + high_freq
    step = (high_freq - low_freq) / (n_mels + 1)
    peaks = low_freq + step * (1 + torch.arange(n_mels, dtype=torch.float64))
    bins = torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size)
    return torch.relu(1 - (bins[:, None] - peaks[None, :]).abs() / step).float()


# %% mutant log10
# The logarithm to base 10 with the factor of the natural one. Both forms exist, 1127 ln and 2595 log10; mixed, 1000 Hz
# are 434 mel. The filters happen to come out right, since they depend on ratios only: what is wrong is the scale.
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log10(1 + hertz / 700.0)


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    high = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
    limits = hertz_to_mel(torch.tensor([low_freq, high], dtype=torch.float64))
    points = torch.linspace(float(limits[0]), float(limits[1]), n_mels + 2, dtype=torch.float64)
    left, peak, right = points[:-2], points[1:-1], points[2:]
    bins = hertz_to_mel(torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size)).unsqueeze(1)
    rising, falling = (bins - left) / (peak - left), (right - bins) / (right - peak)
    return torch.minimum(rising, falling).clamp(min=0).float()


# %% rewritten log10
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 / math.log(10) * torch.log1p(hertz / 700.0)


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    if high_freq <= 0:
        high_freq = sample_rate / 2 + high_freq
    low, high = hertz_to_mel(torch.tensor([low_freq, high_freq], dtype=torch.float64)).tolist()
    step = (high - low) / (n_mels + 1)
    peaks = low + step * (1 + torch.arange(n_mels, dtype=torch.float64))
    bins = hertz_to_mel(torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size))
    return torch.relu(1 - (bins[:, None] - peaks[None, :]).abs() / step).float()


# %% mutant bins_off
# The frequencies of the bins are a little off: there are fft_size / 2 + 1 bins, but fft_size / 2 steps from 0 Hz to the
# Nyquist frequency. Each filter sits a fraction of a bin too low, most visibly at the top.
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    high = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
    limits = hertz_to_mel(torch.tensor([low_freq, high], dtype=torch.float64))
    points = torch.linspace(float(limits[0]), float(limits[1]), n_mels + 2, dtype=torch.float64)
    left, peak, right = points[:-2], points[1:-1], points[2:]
    count = fft_size // 2 + 1
    bins = hertz_to_mel(torch.arange(count, dtype=torch.float64) * (sample_rate / 2 / count)).unsqueeze(1)
    rising, falling = (bins - left) / (peak - left), (right - bins) / (right - peak)
    return torch.minimum(rising, falling).clamp(min=0).float()


# %% rewritten bins_off
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * (1 + hertz / 700.0).log()


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    if high_freq <= 0:
        high_freq = sample_rate / 2 + high_freq
    low, high = hertz_to_mel(torch.tensor([low_freq, high_freq], dtype=torch.float64)).tolist()
    step = (high - low) / (n_mels + 1)
    peaks = low + step * (1 + torch.arange(n_mels, dtype=torch.float64))
    hertz = torch.linspace(0, sample_rate / 2, fft_size // 2 + 2, dtype=torch.float64)[:-1]
    return torch.relu(1 - (hertz_to_mel(hertz)[:, None] - peaks).abs() / step).float()


# %% mutant one_area
# Each triangle is scaled to the same area (divided by its width in hertz). It is a fair idea that some toolkits use,
# but another definition: here each filter reaches 1 at its peak, as in Kaldi.
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    high = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
    limits = hertz_to_mel(torch.tensor([low_freq, high], dtype=torch.float64))
    points = torch.linspace(float(limits[0]), float(limits[1]), n_mels + 2, dtype=torch.float64)
    left, peak, right = points[:-2], points[1:-1], points[2:]
    bins = hertz_to_mel(torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size)).unsqueeze(1)
    rising, falling = (bins - left) / (peak - left), (right - bins) / (right - peak)
    hertz = 700 * torch.expm1(points / 1127)
    return (torch.minimum(rising, falling).clamp(min=0) * (2 / (hertz[2:] - hertz[:-2]))).float()


# %% rewritten one_area
def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * (1 + hertz / 700.0).log()


def mel_filterbank(
    n_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    if high_freq <= 0:
        high_freq = sample_rate / 2 + high_freq
    low, high = hertz_to_mel(torch.tensor([low_freq, high_freq], dtype=torch.float64)).tolist()
    step = (high - low) / (n_mels + 1)
    bins = hertz_to_mel(torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size))
    columns = []
    for m in range(n_mels):
        feet = [700 * math.expm1((low + (m + i) * step) / 1127) for i in (0, 2)]
        triangle = torch.relu(1 - (bins - (low + (m + 1) * step)).abs() / step)
        columns.append(triangle * 2 / (feet[1] - feet[0]))
    return torch.stack(columns, dim=1).float()
