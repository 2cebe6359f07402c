# %% mutant padding_attended
# The mask is True on padding. That is what nn.MultiheadAttention means by a mask (True = ignore), and the opposite of what this
# decoder means: it looks at nothing but padding, and cannot tell the sentences apart.
def frames_to_attend(feature_lengths, frames):
    lengths = (feature_lengths + FACTOR - 1) // FACTOR
    return torch.arange(frames)[None, :] >= lengths[:, None]


# %% rewritten padding_attended
def frames_to_attend(feature_lengths, frames):
    mask = torch.zeros(len(feature_lengths), frames, dtype=torch.bool)
    for row, length in enumerate(feature_lengths.tolist()):
        mask[row, -(-length // FACTOR) :] = True
    return mask


# %% mutant mask_taken_away
# Every frame may be attended, padding too. The sentences are learnt by heart, padding included: an utterance gives other scores in
# another batch. The mask must be True on the real frames, and only there.
def frames_to_attend(feature_lengths, frames):
    return torch.ones(len(feature_lengths), frames, dtype=torch.bool)


# %% rewritten mask_taken_away
def frames_to_attend(feature_lengths, frames):
    return torch.arange(frames)[None, :] < torch.full_like(feature_lengths, frames)[:, None]


# %% mutant one_frame_too_many
# The mask ends one frame too late: <= instead of <. Positions count from 0, so that a length of 3 has the positions 0, 1 and 2. One
# frame of padding is attended, in all utterances but the longest.
def frames_to_attend(feature_lengths, frames):
    lengths = (feature_lengths + FACTOR - 1) // FACTOR
    return torch.arange(frames)[None, :] <= lengths[:, None]


# %% rewritten one_frame_too_many
def frames_to_attend(feature_lengths, frames):
    mask = torch.zeros(len(feature_lengths), frames, dtype=torch.bool)
    for row, length in enumerate(feature_lengths.tolist()):
        mask[row, : -(-length // FACTOR) + 1] = True
    return mask
