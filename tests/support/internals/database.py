"""What tests use of the database, beside SQL.

Tests of behaviour import internals from here only: where code moves, this file follows.
"""

from etl.db import (
    absent,
    activity,
    asof,
    browse,
    engine,
    evidence,
    feed,
    field_changes,
    invariants,
    notices,
    past_reports,
    queries,
    queue,
    relations,
    reports,
    retention,
    runs,
    schema,
    sources,
    statistics,
)
from etl.db.asof import TABLES as ASOF_TABLES
from etl.db.asof import ensure_known, first_known, rows
from etl.db.audit import CHECKS, Check, findings, secrets
from etl.db.between import Difference, differences, touched_between
from etl.db.comments import comments
from etl.db.engine import (
    in_transaction,
    open_engine,
    open_reader,
    reading,
    schema_of,
    snapshot,
    store_error,
)
from etl.db.evidence import Asked
from etl.db.feed import LOOK
from etl.db.notices import claim, everything
from etl.db.quarantine import Drift, DriftAsked, Quarantined, drift, quarantined, replay
from etl.db.queries import freshness, live_counts, usual_requests
from etl.db.relations import TABLES as RELATION_TABLES
from etl.db.relations import batches, relation
from etl.db.reports import REPORTS
from etl.db.retention import Pruned, known_since, prune
from etl.db.run_tables import leases, rate_budgets, rejects, run_streams, schema_drift
from etl.db.run_tables import runs as runs_table
from etl.db.runs import acquire, release
from etl.db.scopes import stored
from etl.db.tables import RECORDS, STAGING, change_fields, changes
from etl.db.types import metadata
from etl.db.vacuum import vacuum
