# %% filled_in
def frames_to_attend(feature_lengths, frames):
    mask = torch.zeros(len(feature_lengths), frames, dtype=torch.bool)
    for row, length in enumerate(feature_lengths.tolist()):
        mask[row, : -(-length // FACTOR)] = True
    return mask


# %% by_the_library
from asr_tutorial.masks import padding_mask


def frames_to_attend(feature_lengths, frames):
    return padding_mask(torch.div(feature_lengths + FACTOR - 1, FACTOR, rounding_mode="floor"), frames)
