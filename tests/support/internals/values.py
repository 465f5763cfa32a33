"""What tests use of the values that stages hand on, and of files.

Tests of behaviour import internals from here only: where code moves, this file follows.
"""

from etl import redaction
from etl.archive.layout import ArchiveRetention, indexes, lines, page_path, prune
from etl.archive.layout import page as archive_page
from etl.archive.reader import found_in
from etl.audit.findings import Finding, Violation, finding
from etl.extract.list_walk import MAX_REJECTS, lists
from etl.extract.rate_limit import Window, our_share
from etl.extract.retry import rest
from etl.formatting import safe
from etl.json_text import json_text, parsed_text, path_step
from etl.load.row_set import RowSet
from etl.model import Record, Reject, RunReport, StreamReport, as_json
from etl.operations.plan_document import MAX_BYTES, MAX_LINE, SourcePlan, read_plans
from etl.pipeline.selection import WHOLE, Selection
from etl.providers.kit import Json, Page, Partition, Provider, Request, Response, Stream, Traffic
from etl.providers.wire import clean, fingerprint_with, parse
from etl.redaction import MIN_MASKED_LENGTH
from etl.reports.evidence import OPERATIONS, Evidence
from etl.reports.evidence_page import page as evidence_page
from etl.reports.export import WRITERS, Column, CsvStyle, write_csv, write_jsonl
from etl.transform.canonical import content_of, hash_of, identify, transform
from etl.transform.classify import MAX_ITEM
from etl.transform.diff import MISSING
