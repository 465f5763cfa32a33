"""What tests use of the values that stages hand on, and of files.

Tests of behaviour import internals from here only: where code moves, this file follows.
"""

from etl import redaction
from etl.archive import Retention, indexes, lines, page_path, prune
from etl.archive import page as archive_page
from etl.audit import Finding, Violation, finding
from etl.diff import MISSING
from etl.dumps import found_in
from etl.evidence import OPERATIONS, Evidence
from etl.evidence_page import page as evidence_page
from etl.export import WRITERS, Column, CsvStyle, write_csv, write_jsonl
from etl.load import MAX_ITEM
from etl.plan_file import MAX_BYTES, MAX_LINE, SourcePlan, read_plans
from etl.quota import Window, our_share
from etl.record import Record, Reject
from etl.redaction import SHORTEST_RUN
from etl.report import RunReport, StreamReport, as_json
from etl.retry import rest
from etl.seen import Seen
from etl.selection import WHOLE, Selection
from etl.shown import safe
from etl.stream import Json, Page, Partition, Provider, Request, Response, Stream, Traffic
from etl.text import json_text, parsed_text, path_step
from etl.transform import content_of, hash_of, identify, transform
from etl.walk import MAX_REJECTS, lists
from etl.wire import clean, fingerprint_with, parse
