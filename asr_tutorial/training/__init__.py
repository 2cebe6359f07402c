"""Training: ``train`` a recogniser, ``overfit`` one batch, and look into a step that fails (``diagnose``).

Read in this order: ``loss``, ``optimizer``, ``step`` (one optimiser step), ``state`` (what a run needs to go on),
``run`` (the files it leaves), ``setup`` (data, model and the checks before step one), ``loop``. ``stages`` makes a
training progressive and ``sampling`` lets the decoder read its own guesses; ``distributed`` is for several processes;
``watch`` and ``diagnose`` find NaNs and what takes the memory; ``pictures`` draws.
"""

from asr_tutorial.training.loop import TrainingResult, train
from asr_tutorial.training.one_batch import overfit

__all__ = ["TrainingResult", "overfit", "train"]
