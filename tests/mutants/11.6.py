# %% mutant against_the_last
# Each value is compared with the one before it. Errors of validations go up and down: one that rises and falls again has
# "improved" at every second value, far above its best, and the stage never ends.
def plateau(history, patience):
    if len(history) <= patience:
        return False
    recent = history[-patience - 1 :]
    return all(not after < before for before, after in zip(recent, recent[1:]))


def is_over(stage, steps, epochs, history):
    return (
        (stage.steps > 0 and steps >= stage.steps)
        or (stage.epochs > 0 and epochs >= stage.epochs)
        or (stage.patience > 0 and plateau(history, stage.patience))
    )


# %% rewritten against_the_last
def plateau(history, patience):
    pairs = list(zip(history[:-1], history[1:]))[-patience:]
    return len(pairs) >= patience and not any(after < before for before, after in pairs)


def is_over(stage, steps, epochs, history):
    if stage.steps and steps >= stage.steps:
        return True
    if stage.epochs and epochs >= stage.epochs:
        return True
    return bool(stage.patience) and plateau(history, stage.patience)


# %% mutant equal_is_better
# As good as before counts as an improvement. A model that has stopped learning repeats the same error, and would never be
# found to have stopped.
def plateau(history, patience):
    before, recent = history[:-patience], history[-patience:]
    best = min((value for value in before if not math.isnan(value)), default=math.inf)
    return bool(before) and not any(value <= best for value in recent)


def is_over(stage, steps, epochs, history):
    return (
        (stage.steps > 0 and steps >= stage.steps)
        or (stage.epochs > 0 and epochs >= stage.epochs)
        or (stage.patience > 0 and plateau(history, stage.patience))
    )


# %% rewritten equal_is_better
def plateau(history, patience):
    if len(history) <= patience:
        return False
    best = math.inf
    for value in history[: len(history) - patience]:
        if value < best:
            best = value
    improved = [value for value in history[len(history) - patience :] if best >= value]
    return not improved


def is_over(stage, steps, epochs, history):
    if stage.steps and steps >= stage.steps:
        return True
    if stage.epochs and epochs >= stage.epochs:
        return True
    return bool(stage.patience) and plateau(history, stage.patience)


# %% mutant zero_is_a_limit
# A limit of 0 ends the stage at once: 0 steps have always been made. 0 stands for "no such limit".
def plateau(history, patience):
    before, recent = history[:-patience], history[-patience:]
    best = min((value for value in before if not math.isnan(value)), default=math.inf)
    return bool(before) and not any(value < best for value in recent)


def is_over(stage, steps, epochs, history):
    return steps >= stage.steps or epochs >= stage.epochs or plateau(history, stage.patience)


# %% rewritten zero_is_a_limit
def plateau(history, patience):
    if len(history) <= patience:
        return False
    best = math.inf
    for value in history[: len(history) - patience]:
        if value < best:
            best = value
    return not [value for value in history[len(history) - patience :] if value < best]


def is_over(stage, steps, epochs, history):
    for done, limit in ((steps, stage.steps), (epochs, stage.epochs)):
        if not done < limit:
            return True
    return plateau(history, stage.patience)


# %% mutant all_limits
# The stage ends only when every limit is reached. The first one ends it: "at most 3 epochs, or when dev stops improving".
def plateau(history, patience):
    before, recent = history[:-patience], history[-patience:]
    best = min((value for value in before if not math.isnan(value)), default=math.inf)
    return bool(before) and not any(value < best for value in recent)


def is_over(stage, steps, epochs, history):
    reached = []
    if stage.steps > 0:
        reached.append(steps >= stage.steps)
    if stage.epochs > 0:
        reached.append(epochs >= stage.epochs)
    if stage.patience > 0:
        reached.append(plateau(history, stage.patience))
    return bool(reached) and all(reached)


# %% rewritten all_limits
def plateau(history, patience):
    if len(history) <= patience:
        return False
    best = math.inf
    for value in history[: len(history) - patience]:
        if value < best:
            best = value
    return not [value for value in history[len(history) - patience :] if value < best]


def is_over(stage, steps, epochs, history):
    if not (stage.steps or stage.epochs or stage.patience):
        return False
    if stage.steps and steps < stage.steps:
        return False
    if stage.epochs and epochs < stage.epochs:
        return False
    return not stage.patience or plateau(history, stage.patience)


# %% mutant nan_is_best
# A NaN at the beginning is taken for the best value so far, and nothing is ever below NaN: the stage ends although the error
# falls, or never.
def plateau(history, patience):
    before, recent = history[:-patience], history[-patience:]
    return bool(before) and not any(value < min(before) for value in recent)


def is_over(stage, steps, epochs, history):
    return (
        (stage.steps > 0 and steps >= stage.steps)
        or (stage.epochs > 0 and epochs >= stage.epochs)
        or (stage.patience > 0 and plateau(history, stage.patience))
    )


# %% rewritten nan_is_best
def plateau(history, patience):
    if len(history) <= patience:
        return False
    best = history[0]
    for value in history[1 : len(history) - patience]:
        if value < best:
            best = value
    return not [value for value in history[len(history) - patience :] if value < best]


def is_over(stage, steps, epochs, history):
    if stage.steps and steps >= stage.steps:
        return True
    if stage.epochs and epochs >= stage.epochs:
        return True
    return bool(stage.patience) and plateau(history, stage.patience)
