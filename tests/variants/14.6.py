# %% three_halvings
def encoder_lengths(feature_lengths, frames):
    lengths, factor = feature_lengths, FACTOR
    while factor > 1:
        lengths, factor = (lengths + 1) // 2, factor // 2
    return lengths


# %% ceiling
def encoder_lengths(feature_lengths, frames):
    return (feature_lengths / FACTOR).ceil().long().clamp(max=frames)
