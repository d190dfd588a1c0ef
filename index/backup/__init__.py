"""Generations and the log of changes copied to a store, a folder or an S3-like one, and back: `perwatt push`, `pull`.

It leaves to others what a generation holds and whether it is whole (index/disk/manifest.py), and what a change is
(index/changes). It deletes nothing in a store.

    STORE/<index>/generations/<generation>/<sha256>   pieces of the generation's files, named by their hashes
    STORE/<index>/changes/<sha256>                    pieces of copies of the log
    STORE/<index>/backups/<backup>.json               a backup: sealed, names every file and its pieces, written last

A piece is there whole or not at all and never changes, so a push that was killed goes on where it was, two pushes at
once write the same bytes, and a generation that was pushed before costs a listing. What no backup names is not visible.

    cli.py        `perwatt push`, `perwatt pull`
    push.py       an index to a store
    pull.py       a backup into a root
    sharded.py    both, of an index in shards
    log_copy.py   a copy of the log while it is written, and how one joins an index
    pieces.py     files cut into pieces, sent and fetched
    contents.py   what a backup names, and what is refused in one
    address.py    which store an address names
    store.py, objects.py   where bytes are put and got: a folder; an S3-like store, through obstore
"""
