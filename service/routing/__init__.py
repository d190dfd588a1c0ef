"""An index in shards: what each of them answers, and the router that asks them all and merges what they say.

part.py          a shard's answer                        the only file here that runs in `perwatt serve`
connection.py    HTTP/1.1 to one replica, and nothing of it that is not needed
replica.py       one server that was named: its connections, how busy it is, whether it answers
shard.py         which replica is asked, when another is asked too, and until when
view.py          what one request searches: all shards as if they were one
whole.py         a sharded index as a router knows it
indexes.py       all of them; who serves what, looked up every second
loading.py       from addresses to a router that is ready
"""
