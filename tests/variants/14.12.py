# %% by_the_library
def load(path):
    return read_audio(path, SAMPLE_RATE)
