"""What can be exported, and what each of it holds, in a line each. Reads only."""

from dataclasses import dataclass

from sqlalchemy import Connection

from etl.reports import ready, relations

_TELLS = {
    "change_fields": "the fields of each change, with the old and the new value",
    "changes": "the change feed, a row a record and change",
    "launchdarkly_environment": "LaunchDarkly's environments as Steampipe names their columns",
    "launchdarkly_project": "LaunchDarkly's projects as Steampipe names their columns",
    "rejects": "items that fit no known shape, kept aside",
    "run_streams": "what each run did in each stream, and the proof of completeness",
    "runs": "when each source was synced, and how that ended",
    "schema_drift": "what was new about the shape of items",
}
_ENDINGS = {
    "_current": "{} without the deleted",
    "_history": "versions of {} that were replaced",
    "_versions": "every version of {}, the present one too",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A table or view; keeps_past: `--as-of` goes with it."""

    name: str
    tells: str
    keeps_past: bool


def exportable(connection: Connection) -> list[Entry]:
    """Every table and view that users may read, by name."""
    return [
        Entry(name=name, tells=_tells(name), keeps_past=ready.keeps_past(name))
        for name in relations.names(connection)
    ]


def _tells(name: str) -> str:
    """Reports by their question, records by their name; '' for a view that is not etl's."""
    if name in ready.REPORTS:
        return ready.REPORTS[name].answers
    for ending, told in _ENDINGS.items():
        stem = name.removesuffix(ending)
        if stem != name:
            return told.format(_plain(stem))
    is_record = name in relations.TABLES and name not in _TELLS
    return f"{_plain(name)}, deleted ones too" if is_record else _TELLS.get(name, "")


def _plain(name: str) -> str:
    words = name.replace("_", " ")
    return words if words.endswith("s") else f"{words}s"
