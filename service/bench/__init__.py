"""What the service measures about itself: its speed beside other servers, its quality, how it bears bad callers.

    command.py       `perwatt bench http`
    process.py       a server and all it started, on cores of its own: its processor time, its memory, its end
    load.py          wrk, and Locust beside it
    contenders.py    who is asked what, and the least effort at which each finds what it should; peers/ has the others
    race.py          the measurement: interleaved rounds, and what they come to
    more_workers.py  what a second worker brings, and what N of them take of the memory
    spread.py        how evenly connections are spread over workers, by three ways
    texts/           what searches by text cost: by both rankings, and by what encodes them
    judged/          what searches are worth on judged collections
    offered.py       requests on a schedule that waits for no answer, from the load test's pump in this process
    hostile.py       what a good caller notices of bad ones
    overload.py      three times more than the server can do

It measures servers, not networks: everything runs on one machine and speaks over its loopback. The figures are rendered
by `deploy.figures`.
"""
