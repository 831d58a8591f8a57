"""The evaluator's verdict as a reward for other programs: strings in, numbers and reasons out.

`reward_answers` is the plain function, for verl, SkyRL and whatever else has strings. `VerdictReward` is one of TRL's
``reward_funcs``. `text2sql.rewards.cookbook` has the Tinker cookbook's environments.
"""

from text2sql.rewards.batch import Reward, reward_answers
from text2sql.rewards.trl import VerdictReward

__all__ = ["Reward", "VerdictReward", "reward_answers"]
