# %% all_at_once
from asr_tutorial.features.augment import random_stretches


def hide_stretches(features, lengths, share, count):
    stretches = random_stretches(lengths, share * lengths, count, features.shape[1])  # (batch, frames)
    return features.masked_fill(stretches[:, :, None], 0.5)
