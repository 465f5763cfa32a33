"""What tests use of the database, beside SQL.

Tests of behaviour import internals from here only: where code moves, this file follows.
"""

from etl.audit import rows as invariants
from etl.audit.checks import CHECKS, Check, findings, secrets
from etl.db import engine, statistics
from etl.db import migrations as schema
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
from etl.db.run_tables import leases, rate_budgets, rejects, run_streams, schema_drift
from etl.db.run_tables import runs as runs_table
from etl.db.tables import RECORDS, STAGING, change_fields, changes
from etl.db.types import metadata
from etl.db.vacuum import vacuum
from etl.history import activity, browse, retention, sources
from etl.history import as_of as asof
from etl.history import changes as feed
from etl.history import runs as queries
from etl.history.as_of import TABLES as ASOF_TABLES
from etl.history.as_of import ensure_known, first_known, rows
from etl.history.changes import LOOK
from etl.history.compare import RecordDifference, differences, touched_between
from etl.history.quarantine import Drift, DriftAsked, Quarantined, drift, quarantined, replay
from etl.history.retention import PrunedRows, known_since, prune
from etl.history.runs import freshness, live_counts, usual_requests
from etl.load import change_fields as field_changes
from etl.load import missing as absent
from etl.load import runs
from etl.load.runs import acquire, release
from etl.load.scope_store import stored
from etl.notify import store as notices
from etl.notify.store import claim, everything
from etl.reports import as_of as past_reports
from etl.reports import evidence_rows as evidence
from etl.reports import ready as reports
from etl.reports import relations
from etl.reports.evidence_rows import EvidenceQuery
from etl.reports.ready import REPORTS
from etl.reports.relations import TABLES as RELATION_TABLES
from etl.reports.relations import batches, relation
from etl.schedule import queue
