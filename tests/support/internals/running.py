"""What tests use of runs: configuration, client, pipeline, daemons, repairs.

Tests of behaviour import internals from here only: where code moves, this file follows.
"""

from etl import app, intake, proof
from etl.app import (
    Failures,
    Running,
    Watch,
    Wish,
    budget_of,
    job_of,
    landed,
    open_database,
    sync_alone,
    utc_now,
)
from etl.backfill import Outlook, outlook, to_the_end, wish_of
from etl.budget import Budget
from etl.config import Notices, Settings, load
from etl.extract import Reader, pages
from etl.intake import MAX_LIST_AGE, MAX_PROCESSES
from etl.notify import tell
from etl.pipeline import Shell, run
from etl.planning import apply, plan
from etl.process import at_work, lives, this_process
from etl.providers import PROVIDERS
from etl.providers.statsig import PROVIDER, LayersOptions
from etl.remake import Dumps
from etl.replay import Load, load_archive, plan_load
from etl.reprocess import Reprocessed, Wanted, preview, reprocess, wanted_of
from etl.schedule import SPREAD, Schedule, cron_of
from etl.scoping import known_identity, scopes_of
from etl.side_by_side import Lost, Tell, processors, side_by_side
from etl.survey import Progress
from etl.worker import Worker, queued
