"""VectorDBBench (vectordb-bench 2.0): perwatt as one of its databases, and `perwatt` as one of its commands.

With a server of `service.judges.served` for the case's vectors, with the fields id:int and label:keyword:

    python -m service.judges.vectordb_bench perwatt --url http://127.0.0.1:8000 --case-type Performance768D100K

takes every option that its other commands take. Importing this adds perwatt to its list of databases, an enumeration
which has no other way in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import click
from pydantic import BaseModel, SecretStr
from vectordb_bench.backend.clients import DB
from vectordb_bench.backend.clients.api import DBCaseConfig, DBConfig, MetricType, VectorDB
from vectordb_bench.backend.filter import Filter, FilterOp
from vectordb_bench.cli.cli import CommonTypedDict, cli, click_parameter_decorators_from_typed_dict, run

from service.client import ClientError
from service.judges.served import URL, ServedIndex

METRICS = {MetricType.L2: "l2", MetricType.COSINE: "cosine", MetricType.IP: "ip", MetricType.DP: "ip"}


class PerwattConfig(DBConfig):
    url: str = URL
    key: SecretStr | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"url": self.url, "key": self.key and self.key.get_secret_value()}


class PerwattCaseConfig(BaseModel, DBCaseConfig):
    """effort: None is the one that the index chose for its recall target."""

    metric_type: MetricType | None = None
    effort: int | None = None

    def index_param(self) -> dict[str, Any]:
        return {}

    def search_param(self) -> dict[str, Any]:
        return {"effort": self.effort}


class PerwattVectorDb(VectorDB):
    """The benchmark makes one, and copies it into the processes that load and search; each opens its own `init`."""

    name = "perwatt"
    thread_safe = True
    supported_filter_types = [FilterOp.NonFilter, FilterOp.NumGE, FilterOp.StrEqual]  # noqa: RUF012 - its own way

    def __init__(
        self,
        dim: int,
        db_config: dict[str, Any],
        db_case_config: PerwattCaseConfig,
        collection_name: str = "",
        drop_old: bool = False,
        **_: Any,
    ) -> None:
        self._options, self._case = db_config, db_case_config
        self._index: ServedIndex | None = None
        self._filter: dict[str, Any] | None = None
        if drop_old:
            metric = METRICS[db_case_config.metric_type or MetricType.COSINE]
            with self.init():
                self._opened.begin(dim, metric, ["id:int", "label:keyword"])

    @contextmanager
    def init(self) -> Iterator[None]:
        self._index = ServedIndex(**self._options)
        try:
            yield
        finally:
            self._index.close()
            self._index = None

    @property
    def _opened(self) -> ServedIndex:
        assert self._index is not None, "the benchmark calls init first"
        return self._index

    def insert_embeddings(
        self, embeddings: list[list[float]], metadata: list[int], labels_data: list[str] | None = None, **_: Any
    ) -> tuple[int, Exception | None]:
        labels = [{}] * len(metadata) if labels_data is None else [{"label": label} for label in labels_data]
        payloads = [{"id": int(id_), **label} for id_, label in zip(metadata, labels, strict=True)]
        try:
            self._opened.put(metadata, embeddings, payloads)
        except (ClientError, ValueError) as error:
            return 0, error
        return len(metadata), None

    def optimize(self, data_size: int | None = None) -> None:
        self._opened.settle()

    def prepare_filter(self, filters: Filter) -> None:
        self._filter = None
        if filters.type == FilterOp.NumGE:
            self._filter = {"field": "id", "gte": filters.int_value}
        elif filters.type == FilterOp.StrEqual:
            self._filter = {"field": "label", "eq": filters.label_value}

    def search_embedding(self, query: list[float], k: int = 100, **_: Any) -> list[int]:
        found = self._opened.search(query, k, filter=self._filter, effort=self._case.effort)
        return [id_ for id_, _score in found]


def _added() -> Any:
    """perwatt as a member of the enumeration, like those that were there when it was made."""
    member: Any = object.__new__(DB)
    member._name_ = member._value_ = "perwatt"
    DB._member_names_.append("perwatt")
    DB._member_map_["perwatt"] = DB._value2member_map_["perwatt"] = member
    theirs = DB.init_cls
    DB.init_cls = property(lambda db: PerwattVectorDb if db is member else theirs.fget(db))
    return member


PERWATT = _added()


class PerwattOptions(CommonTypedDict):
    url: Annotated[str, click.option("--url", default=URL, show_default=True, help="Of the server.")]
    key: Annotated[str | None, click.option("--key", envvar="PERWATT_KEY", help="pw_…, where the server asks for one.")]
    effort: Annotated[int | None, click.option("--effort", type=click.IntRange(1), help="Default: the index's own.")]


@cli.command(name="perwatt")
@click_parameter_decorators_from_typed_dict(PerwattOptions)
def perwatt(**parameters: Any) -> None:
    run(
        db=PERWATT,
        db_config=PerwattConfig(db_label=parameters["db_label"], url=parameters["url"], key=parameters["key"]),
        db_case_config=PerwattCaseConfig(effort=parameters["effort"]),
        **parameters,
    )


if __name__ == "__main__":
    cli()
