# %% counting
def plateau(history, patience):
    best, since = math.inf, 0
    for number, value in enumerate(history):
        if value < best:
            best, since = value, 0
        elif number > 0:
            since += 1
    return since >= patience


def is_over(stage, steps, epochs, history):
    limits = [(stage.steps, steps), (stage.epochs, epochs)]
    if any(limit and done >= limit for limit, done in limits):
        return True
    return bool(stage.patience) and plateau(history, stage.patience)


# %% numpy
def plateau(history, patience):
    values = np.nan_to_num(np.asarray(history, dtype=float), nan=np.inf)
    if len(values) <= patience:
        return False
    return bool(values[-patience:].min() >= values[:-patience].min())


def is_over(stage, steps, epochs, history):
    if 0 < stage.steps <= steps or 0 < stage.epochs <= epochs:
        return True
    return stage.patience != 0 and plateau(history, stage.patience)
