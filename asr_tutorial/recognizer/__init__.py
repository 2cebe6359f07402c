"""Speech in, text out: transcribe, align and evaluate with a trained model.

::

    import asr_tutorial

    recognizer = asr_tutorial.load("runs/my_run")
    print(recognizer.transcribe("speech.flac"))

The order in which to read: ``inputs`` (audio of any kind), ``listener`` (from audio to features), ``decoding`` (one
batch), ``recognizer``, ``aligner`` (when each word was spoken), ``fusing`` (a language model beside it), ``tune``
(which weights suit the two), ``results``.
"""

from asr_tutorial.modes import evaluating
from asr_tutorial.recognizer.decoding import (
    FeatureBatch,
    check_search,
    decode_batch,
    decode_encoded,
    default_options,
    default_search,
)
from asr_tutorial.recognizer.inputs import MAX_SECONDS, MIN_SECONDS
from asr_tutorial.recognizer.recognizer import Recognizer, load, pick_device
from asr_tutorial.recognizer.results import (
    AlignedText,
    Alternative,
    Decoded,
    Evaluation,
    Heard,
    Search,
    TimedText,
    Transcript,
)
from asr_tutorial.search import SearchOptions

__all__ = [
    "MAX_SECONDS",
    "MIN_SECONDS",
    "AlignedText",
    "Alternative",
    "Decoded",
    "Evaluation",
    "FeatureBatch",
    "Heard",
    "Recognizer",
    "Search",
    "SearchOptions",
    "TimedText",
    "Transcript",
    "check_search",
    "decode_batch",
    "decode_encoded",
    "default_options",
    "default_search",
    "evaluating",
    "load",
    "pick_device",
]
