"""What a router costs beside its shards, and what a caller notices of a shard's server that hangs.

command.py     `perwatt bench router`
fleet.py       the same rows in one index and in shards, and the servers of both
cost.py        processor time of a request: of the router, of a shard, of one server of all rows
beyond.py      how much later than its slowest shard a router answers
stopped.py     p99 while one of two replicas of a shard is stopped
"""
