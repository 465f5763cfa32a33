"""The peer: dlt with its rest_api source on the same served data; runs in the bench's own venv.

`python peer.py URL DATABASE FOLDER STRATEGY`; STRATEGY: merge (by key), scd2, or child rows (merge,
with the tables that dlt makes of lists inside of records). Its best settings found: parquet files,
nested values kept as JSON but for child rows, lists of projects fetched side by side, no telemetry.
Normaliser processes cost more than they save at medium; at large they save, see contestants.
"""

import os
import sys
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "EXTRACT__WORKERS": "8",
    "LOAD__WORKERS": "1",  # several lock each other out of SQLite; on Postgres they gain nothing
}

import dlt
from dlt.sources.rest_api import rest_api_resources

WRITES: dict[str, Any] = {
    "merge": "merge",
    "scd2": {"disposition": "merge", "strategy": "scd2"},
    "child rows": "merge",
}
# at large scd2 compares all rows with all in less: it had not ended after 10 minutes
MEMORY = "options=-cwork_mem%3D256MB"
NESTING = {"child rows": 2}


def resource(name: str, key: Any, endpoint: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One list."""
    return {"name": name, "primary_key": key, "endpoint": endpoint, **more}


def launchdarkly(url: str) -> dict[str, Any]:
    """Projects with their environments inside, and the layers of each project."""
    projects = {
        "path": "api/v2/projects",
        "params": {"limit": 100, "expand": "environments"},
        "data_selector": "items",
        "paginator": {"type": "json_link", "next_url_path": "_links.next.href"},
    }
    layers = {
        "path": "api/v2/projects/{resources.ld_projects.key}/layers",
        "data_selector": "items",
        "paginator": "single_page",
    }
    inside = {"include_from_parent": ["_id"], "parallelized": True}
    return {
        "client": {"base_url": url, "headers": {"Authorization": "bench"}},
        "resources": [
            resource("ld_projects", "_id", projects),
            resource("ld_layers", ["_ld_projects__id", "key"], layers, **inside),
        ],
    }


def statsig(url: str) -> dict[str, Any]:
    """Layers, page by page."""
    layers = {
        "path": "console/v1/layers",
        "params": {"limit": 100, "page": 1},
        "data_selector": "data",
        "paginator": {"type": "json_link", "next_url_path": "pagination.nextPage"},
    }
    return {
        "client": {"base_url": url, "headers": {"STATSIG-API-KEY": "bench"}},
        "resources": [resource("statsig_layers", "id", layers)],
    }


def layers_com(url: str) -> dict[str, Any]:
    """Projects, cursor by cursor."""
    projects = {
        "path": "v1/projects",
        "params": {"limit": 200},
        "data_selector": "items",
        "paginator": {"type": "cursor", "cursor_path": "nextCursor", "cursor_param": "cursor"},
    }
    return {
        "client": {"base_url": url, "headers": {"Authorization": "bench"}},
        "resources": [resource("layers_projects", "id", projects)],
    }


@dlt.source(name="bench")
def everything(url: str, strategy: str) -> Any:
    """All four lists, each written in that way."""
    for vendor in (launchdarkly, statsig, layers_com):
        for found in rest_api_resources(vendor(url)):
            found.apply_hints(write_disposition=WRITES[strategy])
            yield found


def main(url: str, database: str, folder: str, strategy: str) -> None:
    """One run of the pipeline."""
    postgres = database.startswith("postgresql")
    kind: Any = dlt.destinations.postgres if postgres else dlt.destinations.sqlalchemy
    # a merge into SQLite joins by keys, which takes minutes without them; scd2 cannot have them
    keys = {"create_primary_keys": True} if not postgres and strategy != "scd2" else {}
    if postgres:  # dlt wants the host of a socket where libpq reads it percent-encoded
        parts = urlsplit(database)
        folder_of_socket = quote(parse_qs(parts.query)["host"][0], safe="")
        database = f"postgresql://{parts.username}:x@{folder_of_socket}{parts.path}?{MEMORY}"
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        pipelines_dir=folder,
        destination=kind(credentials=database, **keys),
        dataset_name="main" if not postgres else "bench",
    )
    source = everything(url, strategy)
    source.max_table_nesting = NESTING.get(strategy, 0)
    pipeline.run(source, loader_file_format="parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
