# %% mutant rate_ignored
# The sample rate in the file is thrown away, and what was recorded at 48 kHz is taken for 16 kHz: three times as slow and at a third of
# the pitch. Resample from the file's own rate to SAMPLE_RATE.
def load(path):
    samples, _ = soundfile.read(path, dtype="float32")
    return samples


# %% rewritten rate_ignored
def load(path):
    with soundfile.SoundFile(path) as file:
        return file.read(dtype="float32")


# %% mutant header_changed
# Only the number was changed: the file now says 16 kHz, and the samples are those of before. A header describes sound, it does not
# make any. The samples have to be computed anew, fewer or more of them for each second: resample.
def load(path):
    samples, _ = soundfile.read(path, dtype="float32")
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    samples, rate = soundfile.read(path, dtype="float32")
    return resample(samples, rate, SAMPLE_RATE)


# %% rewritten header_changed
def load(path):
    with soundfile.SoundFile(path) as file:
        samples = file.read(dtype="float32")
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "FLOAT") as file:
        file.write(samples)
    return samples


# %% mutant samples_dropped
# Samples were dropped (or said twice) until their number was right. What lay above half of the new rate is not gone then: it is folded
# down into the speech, and a whistle of 15 kHz is heard at 1 kHz. A resampler takes these frequencies away first.
def load(path):
    samples, rate = soundfile.read(path, dtype="float32")
    kept = np.arange(len(samples) * SAMPLE_RATE // rate) * rate // SAMPLE_RATE
    return samples[kept]


# %% rewritten samples_dropped
def load(path):
    samples, rate = soundfile.read(path, dtype="float32")
    count = len(samples) * SAMPLE_RATE // rate
    return np.array([samples[number * rate // SAMPLE_RATE] for number in range(count)], dtype=np.float32)
