"""Errors that a user can mend: each message names the thing, the allowed range and the remedy.

The command line prints these without a traceback. Anything else that is raised is a defect of ours.
"""


class UserError(Exception):
    """Something the user gave cannot be used; the message says what, why and what to do."""


class ConfigError(UserError):
    """An unknown key, a wrong type or an impossible value in a configuration."""


class CorpusError(UserError):
    """A corpus, manifest or feature folder that cannot be read as one."""


class AudioError(UserError):
    """An audio file that is missing, empty, corrupt or of an unusable length."""


class TextError(UserError):
    """Text outside the tokenizer's vocabulary, or a tokenizer that cannot be built from the text."""


class DownloadError(UserError):
    """A download that could not be completed, verified or unpacked."""


class CheckpointError(UserError):
    """A checkpoint folder that is incomplete, corrupt or does not fit the model."""


class TrainingError(UserError):
    """Training cannot start or go on: NaN loss, targets longer than inputs, full disk, ..."""


class Stopped(UserError):
    """A signal asked a training to stop; its state is saved, and the message says how to go on."""


class CourseError(UserError):
    """An exercise, a cell or a workspace of the course that cannot be used."""
