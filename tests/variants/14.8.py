# %% by_context
from asr_tutorial.modes import evaluating


def validate(model, dev, blank):
    with evaluating(model):
        return float(ctc(model, dev, blank))
