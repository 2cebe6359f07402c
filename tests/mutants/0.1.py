# %% mutant partial_frame_kept
# The samples left over at the end become one more frame, filled up with zeros. The cut from sound to zeros is a click
# that nobody spoke, and the counts no longer agree with Kaldi's, nor with the lengths that batches are built on.
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    if samples < frame_length:
        return 0
    return 1 + math.ceil((samples - frame_length) / frame_shift)


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    count = num_frames(waveform.shape[-1], frame_length, frame_shift)
    missing = (count - 1) * frame_shift + frame_length - waveform.shape[-1]
    padded = torch.nn.functional.pad(waveform, (0, missing))
    return padded.unfold(-1, frame_length, frame_shift)


# %% rewritten partial_frame_kept
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    count, end = 0, frame_length
    while samples >= frame_length and end < samples + frame_shift:
        count, end = count + 1, end + frame_shift
    return count


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    pieces = []
    start = 0
    while start == 0 or start - frame_shift + frame_length < waveform.shape[-1]:
        piece = waveform[..., start : start + frame_length]
        rest = piece.new_zeros(*piece.shape[:-1], frame_length - piece.shape[-1])
        pieces.append(torch.cat([piece, rest], dim=-1))
        start += frame_shift
    return torch.stack(pieces, dim=-2)


# %% mutant no_overlap
# Each frame begins where the one before ends: frame_shift is not used. With 25 ms frames every 10 ms the picture has
# less than half of its columns, and what lies on a border fades in both windows.
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    return samples // frame_length


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    return waveform.unfold(-1, frame_length, frame_length)


# %% rewritten no_overlap
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    return len(range(frame_length, samples + 1, frame_length))


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    whole = waveform.shape[-1] // frame_length
    return waveform[..., : whole * frame_length].reshape(*waveform.shape[:-1], whole, frame_length)


# %% mutant last_frame_missing
# One frame too few. The number of steps between frames is one less than the number of frames: the first frame, which
# needs no step, counts as well.
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    return max((samples - frame_length) // frame_shift, 0)


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    return waveform.unfold(-1, frame_length, frame_shift)[..., :-1, :]


# %% rewritten last_frame_missing
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    if samples < frame_length:
        return 0
    return int((samples - frame_length) / frame_shift)


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    count = (waveform.shape[-1] - frame_length) // frame_shift
    starts = torch.arange(count) * frame_shift
    return waveform[..., starts[:, None] + torch.arange(frame_length)]


# %% mutant negative_count
# A waveform shorter than one frame has no frames at all, but the formula alone gives 0 or a negative number according
# to how short it is. A negative length goes unnoticed until a batch is built on it.
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    return 1 + (samples - frame_length) // frame_shift


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    return waveform.unfold(-1, frame_length, frame_shift)


# %% rewritten negative_count
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    return math.floor((samples - frame_length + frame_shift) / frame_shift)


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    count = num_frames(waveform.shape[-1], frame_length, frame_shift)
    starts = torch.arange(count)[:, None] * frame_shift
    return waveform[..., starts + torch.arange(frame_length)]


# %% mutant last_dimensions_swapped
# Frames stand in the columns instead of the rows: (..., frame_length, frames). Everything that follows would transform
# along the wrong axis, and a square example would never show it.
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    return 1 + (samples - frame_length) // frame_shift if samples >= frame_length else 0


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    return waveform.unfold(-1, frame_length, frame_shift).transpose(-1, -2)


# %% rewritten last_dimensions_swapped
def num_frames(samples: int, frame_length: int, frame_shift: int) -> int:
    return len(range(0, samples - frame_length + 1, frame_shift))


def frame(waveform: Tensor, frame_length: int, frame_shift: int) -> Tensor:
    starts = range(0, waveform.shape[-1] - frame_length + 1, frame_shift)
    return torch.stack([waveform[..., start : start + frame_length] for start in starts], dim=-1)
