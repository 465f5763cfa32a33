"""An archive of some days, loaded by code of another mapping than today's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from etl.archive.reader import found_in
from etl.config.settings import Settings
from etl.model import Record
from etl.operations.sync import RunOptions
from etl.providers.kit import Partition, Provider, Stream
from etl.reprocess.replay_archive import job_of_dump, replay
from etl.sandbox import Sandbox, Sizes, World
from tests.conftest import Databases
from tests.support.runs import SOURCES, hour, settings_for, sync_all

DAYS = 5
FEW = Sizes(
    ld_projects=4,
    ld_environments=1,
    ld_big_project=0,
    ld_layers=2,
    statsig_layers=10,
    layers_projects=8,
)


@contextmanager
def archived_days(folder: Path, databases: Databases) -> Iterator[tuple[Path, Settings]]:
    """Some days of an evolving world."""
    tables: dict[str, Any] = {name: {"archive": {"dir": str(folder)}} for name in SOURCES}
    with Sandbox(World(9, FEW)) as sandbox, databases("sqlite") as engine:
        settings = settings_for(sandbox, **tables)
        for day in range(DAYS):
            sync_all(engine, settings, hour(24 * day))
            sandbox.world.evolve(changed=0.3, deleted=2, renamed=1, created=2, restored=1)
        yield folder, settings


def load(
    engine: Engine,
    archive: tuple[Path, Settings],
    name: str,
    provider: Provider,
    days: slice = slice(None),
) -> None:
    """A fresh load of the payloads by that code."""
    folder, settings = archive
    for dump in found_in(folder, name, provider).dumps[days]:
        job = job_of_dump(settings, name, dump, RunOptions(), provider)
        assert replay(engine, settings, job, dump).status in ("ok", "partial")


def with_stream(provider: Provider, name: str, **changed: Any) -> Provider:
    streams = tuple(
        replace(stream, **changed) if stream.name == name else stream for stream in provider.streams
    )
    return replace(provider, streams=streams)


def retold(stream: Stream) -> Any:
    """A transform that makes other columns, another name and other children of the same items."""

    def transform(item: Any, partition: Partition) -> Record:
        made = stream.to_record(item, partition)
        children = {
            table: [replace(one, name=f"the {one.name}") for one in parts[:2]]
            for table, parts in made.children.items()
        }
        columns = {**made.columns, "tags": ["anew"]}
        return replace(made, name=made.name.upper(), columns=columns, children=children)

    return transform


def changed_mapping(provider: Provider) -> Provider:
    """Other columns of every stream; and a field less that tells versions apart."""
    for stream, volatile in (
        ("projects", {"tags", "timezone"}),
        ("environments", {"apiKey"}),
        ("layers", {"description", "lastModifiedTime"}),
    ):
        if stream in [one.name for one in provider.streams]:
            old = provider.stream(stream)
            provider = with_stream(
                provider,
                stream,
                to_record=retold(old),
                volatile_fields=old.volatile_fields | volatile,
            )
    return provider
