"""The ready reports: what each one answers, and its rows now or at a moment. Reads only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, FromClause, Select, select

from etl.errors import ConfigError
from etl.json_text import near_or_some
from etl.reports import as_of, relations
from etl.reports.relations import Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A view that answers a question.

    order: of its rows, `-` before a column for the greatest first; the last ones are unique.
    shown: what people see of it; programs get all columns.
    now_only: why it cannot be asked about the past; None: it can.
    """

    name: str
    answers: str
    order: tuple[str, ...]
    shown: tuple[str, ...]
    now_only: str | None = None

    def title(self, moment: datetime | None) -> str:
        """What it is, and of when."""
        when = "" if moment is None else f", as of {moment:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.name}: {self.answers}{when}"

    def ensure_past(self) -> None:
        """It has a past, or ConfigError."""
        if self.now_only is not None:
            raise ConfigError(f"{self.name} can only tell of now: {self.now_only}")


_LAYER = ("source", "project_key", "layer_key")

REPORTS: Mapping[str, Report] = MappingProxyType(
    {
        report.name: report
        for report in (
            Report(
                name="change_feed",
                answers="what was created, updated, deleted, restored, field by field",
                order=("-change_id", "path"),
                shown=(
                    *("observed_at", "source", "stream", "project_key", "key", "operation"),
                    *("path", "old_value", "new_value", "actor"),
                ),
            ),
            Report(
                name="holdout_usage",
                answers="which layers belong to which holdout",
                order=("source", "project_key", "holdout_id", "layer_key", "layer_id"),
                shown=("source", "project_key", "holdout_id", "layers", "layer_key", "layer_name"),
            ),
            Report(
                name="implicit_layers",
                answers="layers that the vendor made for a single experiment",
                order=(*_LAYER, "layer_id"),
                shown=(*_LAYER, "layer_name", "created_by", "provider_created_at", "parameters"),
            ),
            Report(
                name="key_rotations",
                answers="when SDK and mobile keys were changed, by fingerprint",
                order=("change_id", "kind"),
                shown=(
                    *("observed_at", "source", "project_key", "environment_key", "kind"),
                    *("old_fingerprint", "new_fingerprint"),
                ),
            ),
            Report(
                name="layer_capacity",
                answers="how full layers are in each environment, by which experiments",
                order=("-used_percent", *_LAYER, "environment_key", "layer_id"),
                shown=(
                    *(*_LAYER, "environment_key", "used_percent", "free_percent", "over_booked"),
                    *("experiments", "experiment_keys"),
                ),
            ),
            Report(
                name="layers_without_experiments",
                answers="layers of which no experiment has reserved anything",
                order=(*_LAYER, "layer_id"),
                shown=(*_LAYER, "layer_name", "randomization_unit", "provider_created_at"),
            ),
            Report(
                name="possible_same_project",
                answers="projects of two vendors with the same name or key",
                order=("label", "project_id", "other_project_id"),
                shown=(
                    *("label", "source", "project_key", "name"),
                    *("other_source", "other_project_key", "other_name"),
                ),
            ),
            Report(
                name="project_inventory",
                answers="every project of every vendor, with what is in it",
                order=("source", "project_key", "project_id"),
                shown=("source", "project_key", "name", "status", "environments", "layers"),
            ),
            Report(
                name="source_freshness",
                answers="how recent what is known of each stream is",
                order=("source", "stream"),
                shown=("source", "stream", "last_complete_at", "last_merged_at", "last_run_id"),
                now_only="`etl runs` lists what ran when",
            ),
            Report(
                name="stale_projects",
                answers="projects in which nothing has changed for 90 days or more",
                order=("-unchanged_days", "source", "project_key", "project_id"),
                shown=(
                    *("source", "project_key", "name", "status"),
                    *("unchanged_since", "unchanged_days"),
                ),
            ),
            Report(
                name="who_changed_what",
                answers="changes by the people or programs that made them",
                order=("actor", "change_id"),
                shown=(
                    *("actor", "observed_at", "source", "project_key", "key", "operation"),
                    "paths",
                ),
            ),
        )
    }
)


def named(name: str) -> Report:
    """The report of this name, `-` as good as `_`; ConfigError with all the names."""
    try:
        return REPORTS[name.replace("-", "_")]
    except KeyError:
        hint = near_or_some(name.replace("-", "_"), REPORTS)
        raise ConfigError(f"no report {name!r}{hint}") from None


def relation(
    connection: Connection,
    report: Report,
    moment: datetime | None = None,
    *,
    source: str | None = None,
    limit: int | None = None,
) -> Relation:
    """The rows of a report, now or at a moment, in its order.

    source, limit: what will be asked of them, where it is sooner found with that known.
    """
    view = relations.relation(connection, report.name).rows
    if moment is not None:
        report.ensure_past()
    sooner = report.name in as_of.SOONER and limit is not None
    if report.name in as_of.QUERIES and (moment is not None or sooner):

        def pick(rows: FromClause) -> Select[Any]:
            return relations.in_order(connection, Relation(rows, report.order), source, limit)

        wanted = pick if sooner else select
        sqlite = connection.dialect.name == "sqlite"
        found = as_of.rows(view, report.name, moment, sqlite=sqlite, pick=wanted)
        return Relation(found, report.order)
    if moment is None:
        return Relation(view, report.order)
    events = select(view).where(view.c.observed_at <= moment).subquery(report.name)
    return Relation(events, report.order)


def relation_at(connection: Connection, name: str, moment: datetime) -> Relation:
    """A table, view or report as it was at a moment; ConfigError where its past is not kept."""
    report = REPORTS.get(name)
    if report is None or report.now_only is not None or name in relations.EVENTS:
        return relations.relation_at(connection, name, moment)
    return relation(connection, report, moment)


def keeps_past(name: str) -> bool:
    """Whether `relation_at` knows it at a moment."""
    report = REPORTS.get(name)
    return relations.keeps_past(name) if report is None else report.now_only is None
