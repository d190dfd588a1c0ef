"""Generators on several hosts: how they come to one master, learn its plan, and keep its time.

secret.py      strangers are kept out, and from reading along
greeting.py    who comes, and who is not let in
shipment.py    a plan with the files it names, for hosts that do not have them
clock.py       what the master's clock says when ours says something
reception.py   in the master: who has come, and who is not heard of any more
errand.py      in a worker: from its greeting to where it is ready to send
site.py        what one of Locust's processes holds of a trial
loop.py        `perwatt loadtest worker`: one generator after the other, a trial each

All of it goes over the messages of Locust's own master and workers.
"""
