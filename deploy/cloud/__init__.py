"""The same images and index bytes on rented machines of both architectures, compared, and nothing left running.

plan     arms, blocks, their order, and what they cost at the most; kept on disk, so that a run that was killed goes on
options  those of the commands that machines run, parsed before they are paid for
stack    where the machines may be: the outputs of fleet.yaml, which a person deploys once
parcel   what the machines are given and give back, through a bucket by signed addresses, having no rights themselves
boot     what a machine does from its first second: set its own end, fetch, check, run, report
machines launching, ending, and finding what was left behind
experiment   the loop over all of it

Not a manager of clusters: it rents a pair of machines for a quarter of an hour at a time, and returns them.
"""
