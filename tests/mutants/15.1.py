# %% mutant nan_passes
# The comparison asks whether a value is too large, and NaN is neither larger nor smaller than anything: it passes, and makes the
# answers of a whole batch NaN. Ask whether a value is within its bounds, and refuse the rest; check_range does that.
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if not isinstance(rows, list) or not rows:
        raise wrong("features must be a list of at least one frame")
    if len(rows) > max_frames:
        raise too_many_frames(len(rows), max_frames)
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != n_mels:
            raise wrong(f"frame {number} is not a list of {n_mels} numbers")
        if not set(map(type, row)) <= NUMBERS:
            raise wrong(f"frame {number} holds something that is no number")
        if any(abs(value) > LARGEST_LOG_MEL for value in row):
            raise wrong(f"frame {number} holds a value that is out of range")
    return np.array(rows, dtype=np.float32)


# %% rewritten nan_passes
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if type(rows) is not list or len(rows) == 0:
        raise wrong("no frames")
    if len(rows) > max_frames:
        raise too_many_frames(len(rows), max_frames)
    for place in range(len(rows)):
        row = rows[place]
        if type(row) is not list or len(row) != n_mels or any(type(value) not in (int, float) for value in row):
            raise wrong(f"frame {place} is wrong")
        if max(row) > 100 or min(row) < -100:
            raise wrong(f"frame {place} is out of range")
    return np.asarray(rows, dtype="float32")


# %% mutant range_forgotten
# Nobody looks at what the numbers are. A NaN or an infinity among them makes the answers of everybody in the same batch NaN, and a
# number of 400 digits is an OverflowError, for which the caller gets a 500.
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if not isinstance(rows, list) or not rows:
        raise wrong("features must be a list of at least one frame")
    if len(rows) > max_frames:
        raise too_many_frames(len(rows), max_frames)
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != n_mels:
            raise wrong(f"frame {number} is not a list of {n_mels} numbers")
        if not set(map(type, row)) <= NUMBERS:
            raise wrong(f"frame {number} holds something that is no number")
    return np.array(rows, dtype=np.float32)


# %% rewritten range_forgotten
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if not (isinstance(rows, list) and len(rows) > 0):
        raise wrong("no frames")
    if max_frames < len(rows):
        raise too_many_frames(len(rows), max_frames)
    result = np.zeros((len(rows), n_mels), dtype=np.float32)
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != n_mels or {type(value) for value in row} - {float, int}:
            raise wrong(f"frame {place} is wrong")
        result[place] = row
    return result


# %% mutant first_frame_only
# Only the first frame is looked at. np.array meets the other ones, and raises a ValueError of its own, for which the caller gets a
# 500 that says nothing: every frame has to be checked.
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if not isinstance(rows, list) or not rows:
        raise wrong("features must be a list of at least one frame")
    if len(rows) > max_frames:
        raise too_many_frames(len(rows), max_frames)
    row = rows[0]
    if not isinstance(row, list) or len(row) != n_mels:
        raise wrong(f"frame 0 is not a list of {n_mels} numbers")
    if not set(map(type, row)) <= NUMBERS:
        raise wrong("frame 0 holds something that is no number")
    try:
        features = np.array(rows, dtype=np.float32)
    except OverflowError:
        raise wrong("too large") from None
    return check_range(features, wrong)


# %% rewritten first_frame_only
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if type(rows) is not list or rows == []:
        raise wrong("no frames")
    if len(rows) > max_frames:
        raise too_many_frames(len(rows), max_frames)
    for row in rows[:1]:
        if type(row) is not list or len(row) != n_mels or any(type(value) not in NUMBERS for value in row):
            raise wrong("frame 0 is wrong")
    try:
        return check_range(np.asarray(rows, dtype=np.float32), wrong)
    except OverflowError:
        raise wrong("an integer that is too large") from None


# %% mutant isinstance_of_numbers
# isinstance(True, int) is true in Python: JSON's true is taken for the number 1. Ask for the type itself, which is float or int and
# nothing else.
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if not isinstance(rows, list) or not rows:
        raise wrong("features must be a list of at least one frame")
    if len(rows) > max_frames:
        raise too_many_frames(len(rows), max_frames)
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != n_mels:
            raise wrong(f"frame {number} is not a list of {n_mels} numbers")
        if not all(isinstance(value, int | float) for value in row):
            raise wrong(f"frame {number} holds something that is no number")
    try:
        features = np.array(rows, dtype=np.float32)
    except OverflowError:
        raise wrong("too large") from None
    return check_range(features, wrong)


# %% rewritten isinstance_of_numbers
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if type(rows) is not list or len(rows) < 1:
        raise wrong("no frames")
    if len(rows) >= max_frames + 1:
        raise too_many_frames(len(rows), max_frames)
    for place, row in enumerate(rows):
        if type(row) is not list or len(row) != n_mels:
            raise wrong(f"frame {place} is wrong")
        for value in row:
            if not isinstance(value, (float, int)):
                raise wrong(f"frame {place} has no number")
            if abs(value) > 1e6:
                raise wrong(f"frame {place} is out of range")
    return check_range(np.array(rows, dtype=np.float32), wrong)


# %% mutant one_frame_too_few
# max_frames is the most that is allowed, and this refuses a recording of exactly that length.
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if not isinstance(rows, list) or not rows:
        raise wrong("features must be a list of at least one frame")
    if len(rows) >= max_frames:
        raise too_many_frames(len(rows), max_frames)
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != n_mels:
            raise wrong(f"frame {number} is not a list of {n_mels} numbers")
        if not set(map(type, row)) <= NUMBERS:
            raise wrong(f"frame {number} holds something that is no number")
    try:
        features = np.array(rows, dtype=np.float32)
    except OverflowError:
        raise wrong("too large") from None
    return check_range(features, wrong)


# %% rewritten one_frame_too_few
def check_features(rows, n_mels, max_frames):
    wrong = bad_features(n_mels)
    if type(rows) is not list or len(rows) == 0:
        raise wrong("no frames")
    if not len(rows) < max_frames:
        raise too_many_frames(len(rows), max_frames)
    for place, row in enumerate(rows):
        if type(row) is not list or len(row) != n_mels or any(type(value) not in NUMBERS for value in row):
            raise wrong(f"frame {place} is wrong")
    try:
        return check_range(np.asarray(rows, dtype=np.float32), wrong)
    except OverflowError:
        raise wrong("an integer that is too large") from None
