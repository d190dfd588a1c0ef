"""An index in shards: what each of them answers, and the router that asks them all and merges what they say.

part.py          a shard's answer                        with counting.py all that runs in `perwatt serve`
connection.py    HTTP/1.1 to one replica, and nothing of it that is not needed
replica.py       one server that was named: its connections, how busy it is, whether it answers
asking.py        which replica of a shard is asked, when another is asked too, and until when
together.py      the requests of one search to all shards, and who waits for them
shard.py         the replicas of a shard, and writes to them
scatter.py       all shards asked at once, and what it means that one does not answer
view.py          what one request searches: all shards as if they were one
counting.py      facets, of one index and of all shards together
changing.py      writes, each to the shard of its document
whole.py         a sharded index as a router knows it
indexes.py       all of them; who serves what, looked up every second
loading.py       from addresses to a router that is ready
"""
