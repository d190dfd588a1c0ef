"""qdrant's vector-db-benchmark: perwatt as one of its engines, beside those that it has.

In a checkout of it, with a server of `service.judges.served` for the data set, this takes the options of its `run.py`:

    python -m service.judges.vector_db_benchmark --engines perwatt --datasets glove-100-angular

after a file in its experiments/configurations/ says with what:

    [{"name": "perwatt", "engine": "perwatt", "connection_params": {"url": "http://127.0.0.1:8000"},
      "upload_params": {"parallel": 2, "batch_size": 200},
      "search_params": [{"parallel": 1}, {"parallel": 8, "config": {"effort": 200}}]}]
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from benchmark.dataset import Dataset
from dataset_reader.base_reader import Query, Record
from engine.base_client import BaseConfigurator, BaseSearcher, BaseUploader, IncompatibilityError
from engine.base_client.parser import BaseConditionParser

from service.judges.served import ServedIndex

METRICS = {"dot": "ip", "cosine": "cosine", "l2": "l2"}
TYPES = {"int": "int", "float": "float", "bool": "bool", "keyword": "keyword", "uuid": "keyword", "datetime": "date"}


def index_at(host: str, connection_params: dict[str, Any]) -> ServedIndex:
    return ServedIndex(**{"url": f"http://{host}:8000", **connection_params})


class PerwattConfigurator(BaseConfigurator):
    def clean(self) -> None:
        """`recreate` deletes what is there."""

    def recreate(self, dataset: Dataset, collection_params: dict[str, Any]) -> None:
        config = dataset.config
        schema = config.schema or {}
        if config.type == "sparse" or not TYPES.keys() >= set(schema.values()):
            raise IncompatibilityError(f"perwatt has no {config.type} vectors with fields of {schema}")
        index = index_at(self.host, self.connection_params)
        try:
            index.begin(
                config.vector_size,
                METRICS[config.distance],
                [f"{name}:{TYPES[type_]}" for name, type_ in schema.items()],
            )
        finally:
            index.close()


class PerwattUploader(BaseUploader):
    index: ClassVar[ServedIndex]

    @classmethod
    def init_client(
        cls, host: str, distance: str, connection_params: dict[str, Any], upload_params: dict[str, Any]
    ) -> None:
        cls.index = index_at(host, connection_params)

    @classmethod
    def upload_batch(cls, batch: list[Record]) -> None:
        cls.index.put([r.id for r in batch], [r.vector for r in batch], [r.metadata or {} for r in batch])

    @classmethod
    def post_upload(cls, distance: str) -> dict[str, Any]:
        cls.index.settle()
        return {}

    @classmethod
    def delete_client(cls) -> None:
        cls.index.close()


class PerwattSearcher(BaseSearcher):
    index: ClassVar[ServedIndex]
    effort: ClassVar[int | None] = None

    @classmethod
    def init_client(
        cls, host: str, distance: str, connection_params: dict[str, Any], search_params: dict[str, Any]
    ) -> None:
        cls.index = index_at(host, connection_params)
        cls.effort = search_params.get("config", {}).get("effort")

    @classmethod
    def search_one(cls, query: Query, top: int) -> list[tuple[int, float]]:
        kept = PerwattConditionParser().parse(query.meta_conditions)
        return cls.index.search(query.vector, top, filter=kept, effort=cls.effort)

    @classmethod
    def delete_client(cls) -> None:
        cls.index.close()


class PerwattConditionParser(BaseConditionParser):
    """The benchmark's conditions as perwatt's filters."""

    def build_condition(
        self, and_subfilters: list[dict[str, Any]] | None, or_subfilters: list[dict[str, Any]] | None
    ) -> dict[str, Any]:
        return {"and": [*(and_subfilters or []), *([{"or": or_subfilters}] if or_subfilters else [])]}

    def build_exact_match_filter(self, field_name: str, value: Any) -> dict[str, Any]:
        return {"field": field_name, "eq": value}

    def build_match_any_filter(self, field_name: str, values: list[Any]) -> dict[str, Any]:
        return {"field": field_name, "in": values}

    def build_range_filter(self, field_name: str, **bounds: Any) -> dict[str, Any]:
        return {"field": field_name, **{name: bound for name, bound in bounds.items() if bound is not None}}

    def build_match_text_filter(self, field_name: str, text: str) -> dict[str, Any]:
        raise IncompatibilityError("perwatt does not filter by the words of a field")

    def build_geo_filter(self, field_name: str, **place: float) -> dict[str, Any]:
        raise IncompatibilityError("perwatt does not filter by places")


class Absent(ModuleType):
    """The client of an engine whose package is not installed here; each of its classes is None."""

    __path__ = []  # noqa: RUF012 - as a module has it

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def main() -> None:
    """The benchmark's own `run.py`, with one engine more, and without those that cannot be imported."""
    import engine.clients

    for folder in Path(engine.clients.__path__[0]).glob("*/"):
        name = f"engine.clients.{folder.name}"
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = Absent(name)
    from engine.clients import client_factory
    from run import app

    client_factory.ENGINE_CONFIGURATORS["perwatt"] = PerwattConfigurator
    client_factory.ENGINE_UPLOADERS["perwatt"] = PerwattUploader
    client_factory.ENGINE_SEARCHERS["perwatt"] = PerwattSearcher
    app()


if __name__ == "__main__":
    main()
