"""A database of a million layers, filled by bulk inserts: for benchmarks of what reads it.

Half of them LaunchDarkly's, in 2000 projects, with reservations; half Statsig's, with parameters.
One in twenty was updated since, every fiftieth is deleted; a month of runs every half hour.
Their vendors sent 20,000 fields that nobody knows.
"""

# ruff: noqa: S608  SQL of constants

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

LAYERS = 1_000_000
PROJECTS = 2000
END = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = "2026-10-20 00:00:00.000000"  # everything was created then
THEN = "2026-11-10 00:00:00.000000"  # and changed then

_COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
_LAUNCHDARKLY = f"i <= {LAYERS // 2}"
_SOURCE = f"CASE WHEN {_LAUNCHDARKLY} THEN 'acme-launchdarkly' ELSE 'acme-statsig' END"
_PROVIDER = f"CASE WHEN {_LAUNCHDARKLY} THEN 'launchdarkly' ELSE 'statsig' END"
_PROJECT = f"CASE WHEN {_LAUNCHDARKLY} THEN i % {PROJECTS} + 1 ELSE {PROJECTS} + 1 END"
_PROJECT_KEY = f"CASE WHEN {_LAUNCHDARKLY} THEN 'team-' || (i % {PROJECTS}) ELSE 'acme-statsig' END"
# a key that is not in the order of arrival
_KEY = "'layer-' || ((i * 7919) % 1000003)"
_RAW = (
    '\'{"createdAt":1700000000000,"description":"Everything that is shown above the fold of the'
    ' page, for visitors without an account, number \' || i || \'","environments":{},'
    '"key":"\' || {key} || \'","name":"Layer of \' || {name} || \'","randomizationUnit":'
    '"user","tags":["checkout","growth","team-a"]}\''
)
_WORDS = "CASE i % 3 WHEN 0 THEN 'checkout' WHEN 1 THEN 'search' ELSE 'billing' END"


def fill(path: Path) -> None:
    """The migrated, empty SQLite file has it all."""
    database = sqlite3.connect(path, isolation_level=None)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000"):
        database.execute(f"PRAGMA {setting}")
    database.execute("BEGIN")
    for statement in (*_runs(), *_projects(), *_layers(), *_children(), *_changes(), _drift()):
        database.execute(statement)
    database.execute("COMMIT")
    database.execute("PRAGMA journal_mode = WAL")
    database.close()


def _runs() -> list[str]:
    """Runs 1 and 2 made everything, run 3 changed some; 4400 more found nothing."""
    columns = (
        "run_id, source, provider, kind, status, scope, attempts, started_at, finished_at, "
        "observed_at, exit_code, etl_version"
    )
    streams = (
        "run_id, stream, parent_id, parent_key, status, complete, proof, partitions, "
        "incomplete_partitions, expected_total, requests, pages, retries, waited_seconds, "
        "received, created, updated, unchanged, deleted, restored, rejected"
    )
    at = f"strftime('%Y-%m-%d %H:%M:%f000', '{FIRST[:19]}', '+' || ((i - 4) * 10) || ' minutes')"
    status = "CASE i % 97 WHEN 0 THEN 'failed' WHEN 1 THEN 'partial' ELSE 'ok' END"
    made = [
        f"INSERT INTO runs ({columns}) SELECT {number}, '{source}', '{provider}', 'sync', 'ok', "
        f"'', 1, '{at_}', '{at_}', '{at_}', 0, '0.1.0'"
        for number, source, provider, at_ in (
            (1, "acme-launchdarkly", "launchdarkly", FIRST),
            (2, "acme-statsig", "statsig", FIRST),
            (3, "acme-launchdarkly", "launchdarkly", THEN),
        )
    ]
    named = "CASE i % 2 WHEN 0 THEN 'acme-launchdarkly' ELSE 'acme-statsig' END"
    vendor = "CASE i % 2 WHEN 0 THEN 'launchdarkly' ELSE 'statsig' END"
    made.append(
        _COUNT.format(4400) + f"INSERT INTO runs ({columns}) SELECT i, {named}, {vendor}, 'sync', "
        f"{status}, '', 1, {at}, {at}, {at}, 0, '0.1.0' FROM n WHERE i > 3"
    )
    made += [
        f"INSERT INTO run_streams ({streams}) SELECT run_id, '{stream}', '', '', 'ok', 1, "
        f"'end mark reached', 1, 0, {LAYERS // 2}, 5000, 5000, 3, 1.5, {LAYERS // 2}, "
        f"CASE WHEN run_id < 3 THEN {LAYERS // 2} ELSE 0 END, run_id % 7, 0, run_id % 3, 0, 0 "
        f"FROM runs WHERE provider = 'launchdarkly' OR '{stream}' <> 'environments'"
        for stream in ("projects", "environments", "layers")
    ]
    return made


_IDENTITY = "source, provider, parent_id, external_id, key, name, content_hash"
_LIFE = "version, operation, run_id, first_seen_at, changed_at, is_deleted, deleted_at, raw"


def _projects() -> list[str]:
    life = f"1, 'created', 1, '{FIRST}', '{FIRST}', 0, NULL"
    return [
        _COUNT.format(PROJECTS) + f"INSERT INTO projects (project_id, {_IDENTITY}, {_LIFE}) SELECT "
        "i, 'acme-launchdarkly', 'launchdarkly', '', 'p' || i, 'team-' || (i - 1), "
        f"'Team ' || (i - 1), 'h', {life}, '{{\"tags\":[]}}' FROM n",
        f"INSERT INTO projects (project_id, {_IDENTITY}, {_LIFE}) SELECT {PROJECTS + 1}, "
        "'acme-statsig', 'statsig', '', 'acme-statsig', 'acme-statsig', 'acme-statsig', 'h', "
        f"{life}, '{{}}'",
        _COUNT.format(3 * PROJECTS)
        + f"INSERT INTO environments (environment_id, project_id, project_key, {_IDENTITY}, "
        f"{_LIFE}) SELECT i, (i - 1) / 3 + 1, 'team-' || ((i - 1) / 3), 'acme-launchdarkly', "
        "'launchdarkly', 'p' || ((i - 1) / 3 + 1), 'e' || i, 'environment-' || (i % 3), "
        f"'Environment ' || (i % 3), 'h', {life}, '{{}}' FROM n",
    ]


def _layers() -> list[str]:
    updated, deleted = "i % 20 = 0", "i % 50 = 7"
    version = f"CASE WHEN {updated} OR {deleted} THEN 2 ELSE 1 END"
    operation = (
        f"CASE WHEN {updated} THEN 'updated' WHEN {deleted} THEN 'deleted' ELSE 'created' END"
    )
    changed = f"CASE WHEN {updated} OR {deleted} THEN '{THEN}' ELSE '{FIRST}' END"
    gone = f"CASE WHEN {deleted} THEN '{THEN}' END"
    identity = (
        f"{_SOURCE}, {_PROVIDER}, 'p' || ({_PROJECT}), 'x' || i, {_KEY}, "
        f"'Layer of ' || {_WORDS} || ' ' || i, 'h' || i"
    )
    raw = _RAW.replace("{key}", _KEY).replace("{name}", _WORDS)
    content = "randomization_unit, tags, is_implicit"
    held = "'user', '[\"checkout\",\"growth\"]', i % 10 = 0"
    return [
        _COUNT.format(LAYERS) + f"INSERT INTO layers (layer_id, project_id, project_key, {content},"
        f" {_IDENTITY}, {_LIFE}) SELECT i, {_PROJECT}, {_PROJECT_KEY}, {held}, {identity}, "
        f"{version}, {operation}, 1, '{FIRST}', {changed}, {deleted}, {gone}, {raw} FROM n",
        _COUNT.format(LAYERS) + f"INSERT INTO layer_history (layer_id, project_id, project_key, "
        f"{content}, {_IDENTITY}, version, operation, run_id, valid_from, valid_to, is_deleted, "
        f"raw) SELECT i, {_PROJECT}, {_PROJECT_KEY}, {held}, {identity}, 1, 'created', 1, "
        f"'{FIRST}', '{THEN}', 0, {raw} FROM n WHERE {updated} OR {deleted}",
    ]


def _children() -> list[str]:
    life = f"1, 'created', 1, '{FIRST}', '{FIRST}', 0, NULL"
    identity = "layer_id, source, provider, external_id, key, name, content_hash"
    return [
        _COUNT.format(LAYERS // 2)
        + f"INSERT INTO layer_reservations ({identity}, environment_key, experiment_key, flag_key, "
        f"reservation_percent, {_LIFE}) SELECT i, 'acme-launchdarkly', 'launchdarkly', 'e' || e.j, "
        "'experiment-' || e.j, 'experiment-' || e.j, 'h', 'environment-' || (e.j % 2), "
        f"'experiment-' || e.j, 'flag-' || e.j, (i * 13 + e.j * 17) % 70, {life}, '{{}}' "
        "FROM n JOIN (SELECT 0 AS j UNION SELECT 1 UNION SELECT 2) AS e",
        _COUNT.format(LAYERS)
        + f"INSERT INTO layer_parameters ({identity}, type, default_value, position, {_LIFE}) "
        f"SELECT i, 'acme-statsig', 'statsig', 'colour', 'colour', 'colour', 'h', 'string', "
        f"'\"red\"', 0, {life}, '{{}}' FROM n WHERE i > {LAYERS // 2}",
    ]


def _changes() -> list[str]:
    columns = (
        "run_id, source, provider, stream, record_id, version, project_key, key, operation, "
        "observed_at"
    )
    who = f"{_SOURCE}, {_PROVIDER}, 'layers', i"
    return [
        _COUNT.format(LAYERS) + f"INSERT INTO changes ({columns}) SELECT CASE WHEN {_LAUNCHDARKLY} "
        f"THEN 1 ELSE 2 END, {who}, 1, {_PROJECT_KEY}, {_KEY}, 'created', '{FIRST}' FROM n",
        _COUNT.format(LAYERS) + f"INSERT INTO changes ({columns}) SELECT 3, {who}, 2, "
        f"{_PROJECT_KEY}, {_KEY}, CASE WHEN i % 20 = 0 THEN 'updated' ELSE 'deleted' END, "
        f"'{THEN}' FROM n WHERE i % 20 = 0 OR i % 50 = 7",
        "INSERT INTO change_fields (change_id, path, old_value, new_value) SELECT change_id, "
        "'description', '\"old\"', '\"new\"' FROM changes WHERE operation = 'updated'",
    ]


def _drift() -> str:
    """Fields under names that the vendor makes up, as feature flags may bring them."""
    kind = "CASE i % 10 WHEN 0 THEN 'vanished' WHEN 1 THEN 'retyped' ELSE 'added' END"
    return _COUNT.format(20_000) + (
        "INSERT INTO schema_drift (source, provider, stream, path, type, sample_type, records, "
        "first_seen_at, last_seen_at) SELECT CASE i % 2 WHEN 0 THEN 'acme-launchdarkly' ELSE "
        "'acme-statsig' END, CASE i % 2 WHEN 0 THEN 'launchdarkly' ELSE 'statsig' END, 'layers', "
        f"'field-' || i, {kind}, 'string', CASE WHEN i % 10 < 2 THEN i END, '{FIRST}', '{THEN}' "
        "FROM n"
    )
