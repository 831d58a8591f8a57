"""Whether two queries mean the same: both are run on databases made for the pair.

`execution_match` is the door; `scoring` compares many pairs, in `processes` that can be killed.
"""
