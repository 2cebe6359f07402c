"""Training: ``train`` a recogniser, ``overfit`` one batch.

Read in this order: ``loss``, ``optimizer``, ``step`` (one optimiser step), ``state`` (what a run needs to go on),
``run`` (the files it leaves), ``setup`` (data, model and the checks before step one), ``loop``.
"""

from asr_tutorial.training.loop import TrainingResult, overfit, train

__all__ = ["TrainingResult", "overfit", "train"]
