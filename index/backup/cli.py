"""`perwatt push` and `perwatt pull`: an index to a store, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from index.disk.root import Root
from index.options import json_option, root_option
from index.printing import print_json, print_table, size

if TYPE_CHECKING:
    from index.backup.store import Store


@click.command()
@click.argument("name")
@click.argument("store", metavar="TO")
@root_option
@click.option("--all", "everything", is_flag=True, help="Every generation that there is, not only the served one.")
@click.option("--read-back", is_flag=True, help="Read back what TO holds, and send again what is damaged there.")
@json_option
def push(name: str, store: str, root: Path, everything: bool, read_back: bool, as_json: bool) -> None:
    """Copy index NAME and the changes written to it to TO, a folder or an S3-like store, as a backup.

    A service may go on writing meanwhile. What TO holds already is not sent again, so a push that was interrupted goes
    on where it was. The backup is there once everything that it names is. Credentials and endpoint of a store come
    from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL.

    \b
    perwatt push docs /mnt/backup
    perwatt push docs s3://my-bucket/perwatt --root /data/indexes --all
    """
    from index.backup.address import open_store
    from index.backup.push import push as to_store
    from index.backup.sharded import push_shards
    from index.shards.sealed import ShardedIndex

    place, sharded = open_store(store), ShardedIndex(root, name)
    how: dict[str, Any] = {"everything": everything, "read_back": read_back, "show": True}
    done = push_shards(sharded, place, **how) if sharded.there else to_store(Root(root), name, place, **how)
    if as_json:
        print_json({"index": name, **done._asdict()})
        return
    changes = "no log of changes" if done.changes is None else f"changes up to {done.changes:,}"
    click.echo(f"{name}: backup {done.backup} holds {', '.join(done.generations)} and {changes}")
    click.echo(f"{size(done.bytes)}, of which {size(done.sent)} were sent and the rest was there")


@click.command()
@click.argument("name")
@click.argument("store", metavar="FROM")
@root_option
@click.option("--backup", metavar="ID", help="Which one; default: the newest.")
@click.option("--list", "list_", is_flag=True, help="Only show the backups of NAME that there are.")
@click.option("--all", "everything", is_flag=True, help="Every generation of the backup, not only the served one.")
@click.option("--switch", is_flag=True, help="Serve what was served, though the root serves another generation now.")
@click.option("--shard", metavar="I-of-S", help="Of an index in shards only this one, where no other is served.")
@json_option
def pull(
    name: str,
    store: str,
    root: Path,
    backup: str | None,
    list_: bool,
    everything: bool,
    switch: bool,
    shard: str | None,
    as_json: bool,
) -> None:
    """Copy index NAME and its changes from FROM, where `perwatt push` put them, into the folder of indexes.

    Every byte is checked before the generation has its name. What is there stays; what is served changes only with
    --switch, or where nothing was served. A pull that was interrupted goes on where it was.

    \b
    perwatt pull docs /mnt/backup --list
    perwatt pull docs s3://my-bucket/perwatt --root /data/indexes
    perwatt pull docs s3://my-bucket/perwatt --shard 3-of-8
    """
    from index.backup.address import open_store
    from index.backup.pull import pull as from_store
    from index.backup.sharded import pull_shard, pull_shards, sharded_backups
    from index.shards.sealed import ShardedIndex

    place = open_store(store)
    if list_:
        _print_backups(name, place, as_json)
        return
    how: dict[str, Any] = {"backup": backup, "everything": everything, "switch": switch, "show": True}
    shards = sharded_backups(place, name)
    if shard is not None:
        done = pull_shard(ShardedIndex(root, name), place, shard, **how)
    elif backup in shards if backup else shards:
        done = pull_shards(ShardedIndex(root, name), place, **how)
    else:
        done = from_store(Root(root), name, place, **how)
    if as_json:
        print_json({"index": name, **done._asdict()})
        return
    changes = f"{done.changes:,} change" if done.changes == 1 else f"{done.changes:,} changes"
    click.echo(f"{name}: {', '.join(done.generations)} of backup {done.backup}, {changes} added")
    click.echo(f"{size(done.bytes)}, of which {size(done.fetched)} were fetched and the rest was there")
    if done.served in done.generations:
        click.echo(f"{name} serves {done.served}")
    elif done.generations:
        click.echo(
            f"{name} serves {done.served or 'nothing'}; `perwatt switch {name} {done.generations[-1]}` changes that"
        )


def _print_backups(name: str, place: "Store", as_json: bool) -> None:
    from index.backup.contents import backups, read_backup
    from index.backup.sharded import read_sharded, sharded_backups

    rows = [
        {
            "backup": each.id,
            "created": each.created_at,
            "served": each.served,
            "generations": len(each.generations),
            "shards": len(each.shards),
        }
        for each in (read_sharded(place, name, id_) for id_ in sharded_backups(place, name))
    ] or [
        {
            "backup": each.id,
            "created": each.created_at,
            "served": each.served,
            "generations": len(each.generations),
            "changes": each.changes.last if each.changes else None,
        }
        for each in (read_backup(place, name, id_) for id_ in backups(place, name))
    ]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(f"{place.where} has no backup of index {name}")
    else:
        print_table(list(rows[0]), [[value if value is not None else "" for value in row.values()] for row in rows])
