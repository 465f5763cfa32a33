"""Tells people what they should know of runs that have landed, through the library apprise.

A run is over before this begins, and nothing that fails here changes it: what could not be told is
told with the next run.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from pydantic import SecretStr
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from etl.config.settings import Settings, SourceSettings
from etl.db.engine import reading
from etl.db.failures import explained
from etl.errors import ConfigError
from etl.history import quarantine
from etl.history.runs import freshness
from etl.log_fields import fields
from etl.model import RunReport, StreamStatus
from etl.notify import store
from etl.notify.alerts import (
    DRIFT,
    ROTATION,
    STALE,
    TELLING,
    Cause,
    Findings,
    found_in,
    listing,
    title_of,
)
from etl.notify.store import Notice
from etl.operations.sync import Clock, utc_now
from etl.providers import PROVIDERS

log = logging.getLogger(__name__)

Send = Callable[[str, str, bool], None]  # title, body, whether it is good news
Targets = dict[str, Send]


class NotSent(Exception):
    """A target did not take a notice."""


def tell(
    engine: Engine, settings: Settings, reports: Sequence[RunReport], *, clock: Clock = utc_now
) -> list[str]:
    """Notes what these runs found and sends what was not sent yet; -> what could not be sent.

    Without a channel only what lasts is noted, for `etl notices` and for a channel to come.
    """
    try:
        _note(engine, settings, reports, clock())
        troubles = _send_waiting(engine, targets_of(settings), clock)
    except SQLAlchemyError as error:
        troubles = [f"notices: the database failed: {explained(error)}"]
    except ConfigError as error:
        troubles = [f"notices: {error}".splitlines()[0]]
    for trouble in troubles:
        log.warning(
            "%s; it is tried again after the next run",
            trouble,
            extra=fields("notice not sent", reason=trouble),
        )
    return troubles


def _note(engine: Engine, settings: Settings, reports: Sequence[RunReport], now: datetime) -> None:
    with engine.begin() as connection:
        for report in reports:
            if report.kind in TELLING:
                store.note(connection, report.source, found_in(report), now)
                if settings.notices.urls:
                    store.note(connection, report.source, _events(connection, report), now)
        for source in settings.sources.values():
            found = _staleness(connection, source, settings.notices.stale_after, now)
            store.note(connection, source.name, found, now)


def _events(connection: Connection, report: RunReport) -> Findings:
    """What happened once, in a run that changed something."""
    if report.run_id is None or not report.changed:
        return Findings()
    began, others = store.looked(connection, report.run_id)
    asked = quarantine.DriftAsked(source=report.source, since=began)
    found, _ = quarantine.drift(connection, asked)
    drifted = [
        f"{one.stream}: {one.path or 'an item'}: {one.kind}, {one.type}"
        for one in sorted(found, key=lambda one: (one.stream, one.path))
        if not any(begin <= one.first_seen_at <= end for begin, end in others)
    ]
    told = {ROTATION: store.rotated(connection, report.run_id), DRIFT: drifted}
    return Findings(
        there=[
            listing(kind, report.source, report.run_id, lines)
            for kind, lines in told.items()
            if lines
        ]
    )


def _staleness(
    connection: Connection, source: SourceSettings, allowed: timedelta, now: datetime
) -> Findings:
    """The streams that are asked for and did not come whole for too long, or ever."""
    wanted = {
        one.name for one in PROVIDERS[source.provider].streams if one.is_wanted(source.options)
    }
    began = store.first_started(connection, source.name) or now
    stale = [
        f"{row.stream}: last complete {row.last_complete_at or 'never'}"
        + (f", and a time in the future: {row.future_at}" if row.future_at else "")
        for row in freshness(connection, [source.name], now=now)
        if row.stream in wanted and row.stream_status != StreamStatus.UNAVAILABLE
        if row.future_at or (row.last_complete_at or began) < now - allowed
    ]
    if not stale:
        return Findings(gone=[(STALE, "")])
    hours = allowed.total_seconds() / 3600
    message = [f"older than {hours:g} hours; `etl status {source.name}` tells more", *stale]
    return Findings(there=[Cause(kind=STALE, source=source.name, message="\n".join(message))])


def _send_waiting(engine: Engine, targets: Targets, clock: Clock) -> list[str]:
    with reading(engine) as connection:
        waiting = list(store.waiting(connection, targets))
    return [trouble for notice in waiting for trouble in _give(engine, notice, targets, clock)]


def _give(engine: Engine, notice: Notice, targets: Targets, clock: Clock) -> Iterator[str]:
    """One notice to every target that does not have it; what kept one from it."""
    with engine.begin() as connection:
        if not store.claim(connection, notice, clock()):
            return
    recovered = notice.ended_at is not None
    have = notice.recovered if recovered else notice.told
    title, body = title_of(notice.cause, recovered=recovered), _body(notice)
    done: list[str] = []
    for name, send in targets.items():
        if name in have:
            continue
        try:
            send(title, body, recovered)
            done.append(name)
        except NotSent as error:
            yield f"`{title}` was not sent to {name}: {error}"
    with engine.begin() as connection:
        all_done = set(targets) <= {*have, *done}
        store.given(connection, notice, done, all_done=all_done, now=clock())


def _body(notice: Notice) -> str:
    begun = f"since {notice.first_seen_at:%Y-%m-%d %H:%M:%S} UTC"
    ended = "" if notice.ended_at is None else f", until {notice.ended_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{notice.cause.message}\n({begun}{ended})"


def targets_of(settings: Settings) -> Targets:
    """Where an URL is said to be -> how to send there; ConfigError without apprise or such an URL.

    By that name it is remembered who was told: a digest of the URL could be guessed.
    """
    return {name: _target(name, url) for name, url in settings.notices.urls.items()}


def _target(name: str, url: SecretStr) -> Send:
    try:
        import apprise
    except ImportError:
        raise ConfigError(
            "[notices] needs the library apprise: pip install '.[notices]' in etl's checkout"
        ) from None

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it tells hosts; what fails we tell
    channel = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of modules that its plugins import
        known = channel.add(url.get_secret_value())
    if not known:
        raise ConfigError(f"[notices] urls: {name} holds no URL that apprise knows")

    def send(title: str, body: str, good: bool) -> None:
        kind = apprise.NotifyType.SUCCESS if good else apprise.NotifyType.WARNING
        try:
            sent = channel.notify(title=title, body=body, notify_type=kind)
        except Exception as error:  # a plugin's own
            raise NotSent(type(error).__name__) from error
        if not sent:
            raise NotSent("it was not taken")

    return send
