"""What tests use of runs: configuration, client, pipeline, daemons, repairs.

Tests of behaviour import internals from here only: where code moves, this file follows.
"""

from etl.config.settings import NoticeSettings, Settings, load
from etl.extract.client import Client as Client
from etl.extract.client import RetryPolicy as RetryPolicy
from etl.extract.pages import PageReader, pages
from etl.load import stager as intake
from etl.load.stager import MAX_LIST_AGE, MAX_PROCESSES
from etl.notify.send import tell
from etl.operations import sync as app
from etl.operations.backfill import Outlook, outlook, to_the_end, wish_of
from etl.operations.plan import apply, plan
from etl.operations.sync import (
    Failures,
    Running,
    RunOptions,
    Watch,
    budget_of,
    job_of,
    landed,
    open_database,
    sync_alone,
    utc_now,
)
from etl.pipeline import evidence as proof
from etl.pipeline.crawl import Progress
from etl.pipeline.live_processes import at_work, lives, this_process
from etl.pipeline.rate_budget import RateBudget
from etl.pipeline.run import RunContext, run
from etl.pipeline.scope_check import known_identity, scopes_of
from etl.providers import PROVIDERS
from etl.providers.statsig import PROVIDER, LayersOptions
from etl.reprocess.replay_archive import Load, load_archive, plan_load
from etl.reprocess.reprocess import ReprocessOptions, ReprocessResult, preview, reprocess, wanted_of
from etl.reprocess.scratch import SourceDumps
from etl.schedule.daemon import SPREAD, Schedule, cron_of
from etl.schedule.processes import Lost, Tell, processors, side_by_side
from etl.schedule.worker import Worker, queued
