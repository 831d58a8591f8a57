"""The configuration of an experiment: every key with its default, and how a file is read.

A file holds only what differs from the defaults in `sections` and `schema`. `load_config` merges, in this order, the
defaults, the file and the ``key.sub=value`` overrides of the command line, refuses what it does not know, and says what
is wrong by key.
"""

from text2sql.config.endpoint import EndpointConfig
from text2sql.config.files import SHIPPED, find_config
from text2sql.config.load import dump_config, load_config
from text2sql.config.rl import RewardConfig, RlConfig
from text2sql.config.schema import Config
from text2sql.config.section import expand_user
from text2sql.config.sections import (
    DataConfig,
    EarlyStopping,
    EvaluationConfig,
    HubConfig,
    LoraConfig,
    PromptConfig,
    SchemaText,
    SourceConfig,
    TrackingConfig,
    TrainingConfig,
)
from text2sql.config.strategies import FewShot, Retry, Samples, SelfConsistency

__all__ = [
    "SHIPPED",
    "Config",
    "DataConfig",
    "EarlyStopping",
    "EndpointConfig",
    "EvaluationConfig",
    "FewShot",
    "HubConfig",
    "LoraConfig",
    "PromptConfig",
    "Retry",
    "RewardConfig",
    "RlConfig",
    "Samples",
    "SchemaText",
    "SelfConsistency",
    "SourceConfig",
    "TrackingConfig",
    "TrainingConfig",
    "dump_config",
    "expand_user",
    "find_config",
    "load_config",
]
