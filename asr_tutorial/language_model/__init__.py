"""Language models: how probable a text is, whatever was heard.

:class:`TransformerLM` predicts tokens, :class:`NGram` words; :func:`spelled` makes a model of tokens of one of words.
:func:`load_language_model` reads either from its folder, :func:`evaluate_text` measures either.
"""

from asr_tutorial.language_model.arpa import read_arpa, write_arpa
from asr_tutorial.language_model.folder import LanguageModel, load_language_model, save_ngram, save_transformer_lm
from asr_tutorial.language_model.ngram import NGram
from asr_tutorial.language_model.pruning import pruned
from asr_tutorial.language_model.scoring import Perplexity, evaluate_text, perplexity, token_log_probs, word_log_probs
from asr_tutorial.language_model.spelled import spelled
from asr_tutorial.language_model.transformer import TransformerLM

__all__ = [
    "LanguageModel",
    "NGram",
    "Perplexity",
    "TransformerLM",
    "evaluate_text",
    "load_language_model",
    "perplexity",
    "pruned",
    "read_arpa",
    "save_ngram",
    "save_transformer_lm",
    "spelled",
    "token_log_probs",
    "word_log_probs",
    "write_arpa",
]
