# %% indices
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    return max(0, (samples - frame_length + frame_shift) // frame_shift)


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    starts = torch.arange(num_frames(waveform.shape[-1], frame_length, frame_shift), device=waveform.device)
    inside = torch.arange(frame_length, device=waveform.device)
    return waveform[..., starts[:, None] * frame_shift + inside]


# %% loop
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    count = 0
    start = 0
    while start + frame_length <= samples:
        count += 1
        start += frame_shift
    return count


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    rows = []
    for start in range(0, waveform.shape[-1] - frame_length + 1, frame_shift):
        rows.append(waveform[..., start : start + frame_length])
    return torch.stack(rows, dim=-2)
