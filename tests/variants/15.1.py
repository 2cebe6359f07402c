# %% row_by_row
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if type(rows) is not list or len(rows) == 0:
        raise wrong("there is no frame in the features")
    if len(rows) > max_frames:
        raise too_many_frames(len(rows), max_frames)
    features = np.empty((len(rows), n_mels), dtype=np.float32)
    for place, row in enumerate(rows):
        if type(row) is not list:
            raise wrong(f"frame {place} is a {type(row).__name__}, not a list")
        if len(row) != n_mels:
            raise wrong(f"frame {place} has {len(row)} numbers, not {n_mels}")
        for value in row:
            if type(value) is not float and type(value) is not int:
                raise wrong(f"frame {place} holds {type(value).__name__}")
            if not -LARGEST_LOG_MEL <= value <= LARGEST_LOG_MEL:
                raise wrong(f"frame {place} holds a value that no sound has")
        features[place] = row
    return features


# %% counted_first
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if not isinstance(rows, list) or len(rows) < 1:
        raise wrong("features are a list of frames")
    if len(rows) > max_frames:
        raise too_many_frames(len(rows), max_frames)
    bad = [n for n, row in enumerate(rows) if not isinstance(row, list) or len(row) != n_mels]
    bad = bad or [n for n, row in enumerate(rows) if any(type(value) not in NUMBERS for value in row)]
    if bad:
        raise wrong(f"frame {bad[0]} is no list of {n_mels} numbers")
    try:
        features = np.asarray(rows, dtype=np.float64).astype(np.float32)
    except OverflowError:
        raise wrong("a number is too large") from None
    if not np.all(np.abs(features) <= 100):
        raise wrong("a value is out of range")
    return features
