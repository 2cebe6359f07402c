# %% mutant cut_to_the_longest
# The lengths are those of the sound, cut to what the encoder has: so every utterance is as long as the whole batch, padding included.
# CTC puts letters into the padding, and they are missing where there is none: lengths are divided by the factor, as the frames are.
def encoder_lengths(feature_lengths, frames):
    return feature_lengths.clamp(max=frames)


# %% rewritten cut_to_the_longest
def encoder_lengths(feature_lengths, frames):
    return torch.minimum(feature_lengths, torch.full_like(feature_lengths, frames))


# %% mutant rounded_down
# The lengths are divided and rounded down. A last, incomplete group of frames is a frame of the encoder too: rounded up. Otherwise
# the last frame is thrown away, and with it a letter that needs it; CTC may have fewer frames than letters.
def encoder_lengths(feature_lengths, frames):
    return feature_lengths // FACTOR


# %% rewritten rounded_down
def encoder_lengths(feature_lengths, frames):
    return (feature_lengths / FACTOR).floor().long()


# %% mutant share_of_the_longest
# Each length is taken as a share of the longest one, times the frames. The longest one's padding is forgotten, so that the same
# utterance has another length in another batch: a length must follow from the utterance alone.
def encoder_lengths(feature_lengths, frames):
    return (feature_lengths / feature_lengths.max() * frames).round().long()


# %% rewritten share_of_the_longest
def encoder_lengths(feature_lengths, frames):
    longest = int(feature_lengths.max())
    return torch.tensor([round(length * frames / longest) for length in feature_lengths.tolist()])
