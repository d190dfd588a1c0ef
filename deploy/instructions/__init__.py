"""How many instructions a query takes: of the walk and of the encoder, on units that this machine need not have.

    measure.py     what is counted, on which units, and the command
    stepped.py     on this processor: one instruction after another, by ptrace
    emulated.py    on arm64 processors that QEMU is told to be: from its log of translated blocks
    work.py        one piece of work in a process of its own, which either counts

Only instructions that lie in our own libraries count. A count is of one query or a mean of a few, it is the same
whenever it is taken, and it is *counted in emulation* or step by step, never timed. No time and no energy follows from
it: an instruction of a tile unit does what a thousand others do. It tells what a change of a loop saved, where no
processor is at hand that could be timed.
"""
