"""All settings of the project: typed dataclasses, filled from YAML, overridden on the command line.

``load_config("tinyspeech", ["--training.max_steps=50"])`` reads ``configs/tinyspeech.yaml``, applies the overrides and
checks everything with pydantic. An unknown key, a wrong type or an impossible value is a :class:`ConfigError` that
names the key. A configuration is saved beside every checkpoint, so that a model can be rebuilt from its folder.
"""

from asr_tutorial.config.lact import LactConfig
from asr_tutorial.config.language_model import LanguageModelArchitecture, LanguageModelConfig, TextConfig
from asr_tutorial.config.loading import (
    CONFIGS,
    available_configs,
    from_dict,
    load_config,
    load_lm_config,
    read_yaml,
    to_yaml,
)
from asr_tutorial.config.sections import (
    AugmentConfig,
    Config,
    DataConfig,
    FeaturesConfig,
    InitialiseConfig,
    LoopConfig,
    ModelConfig,
    OptimizerConfig,
    PredictorConfig,
    ProgressiveConfig,
    ScheduleConfig,
    StageConfig,
    TokenizerConfig,
    TrainingConfig,
)
from asr_tutorial.config.types import (
    CTC_SEARCHES,
    PARALLEL_SEARCHES,
    PLAIN_SEARCHES,
    STEPWISE_SEARCHES,
    STRICT,
    Count,
    Positive,
    Search,
)

__all__ = [
    "CONFIGS",
    "CTC_SEARCHES",
    "PARALLEL_SEARCHES",
    "PLAIN_SEARCHES",
    "STEPWISE_SEARCHES",
    "STRICT",
    "AugmentConfig",
    "Config",
    "Count",
    "DataConfig",
    "FeaturesConfig",
    "InitialiseConfig",
    "LactConfig",
    "LanguageModelArchitecture",
    "LanguageModelConfig",
    "LoopConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Positive",
    "PredictorConfig",
    "ProgressiveConfig",
    "ScheduleConfig",
    "Search",
    "StageConfig",
    "TextConfig",
    "TokenizerConfig",
    "TrainingConfig",
    "available_configs",
    "from_dict",
    "load_config",
    "load_lm_config",
    "read_yaml",
    "to_yaml",
]
