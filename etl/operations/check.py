"""What each key may read: one cheap question a stream, without a run."""

from dataclasses import dataclass

from etl.config.settings import Settings, SourceSettings
from etl.errors import SourceError
from etl.extract.client import Unlimited
from etl.extract.pages import PageReader, body_of
from etl.operations.sync import client_of, reader_of
from etl.providers import PROVIDERS
from etl.providers.kit import Partition, Provider, Stream
from etl.signals import undisturbed
from etl.transform.classify import named_items


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What `etl check` found about one stream of a source; ok, or why not and the exit code."""

    source: str
    stream: str
    ok: bool
    message: str
    exit_code: int = 0


@undisturbed
def check(settings: Settings, name: str) -> list[CheckResult]:
    """Asks for the first page of every stream of a source: what the key may read."""
    source = settings.sources[name]
    provider = PROVIDERS[source.provider]
    client = client_of(source, Unlimited(), attempts=min(2, source.limits.attempts))
    reader = reader_of(client, source, settings)
    try:
        return _findings(provider, source, reader)
    finally:
        client.close()


def _findings(provider: Provider, source: SourceSettings, reader: PageReader) -> list[CheckResult]:
    found: list[CheckResult] = []
    partition = Partition()
    for stream in provider.streams:
        if not stream.is_wanted(source.options):
            continue
        try:
            request = stream.first_request(partition, source.options[stream.name])
            body = body_of(reader, stream.name, request, reader.fetch(request))
            page = stream.read_page(body, request)
        except SourceError as error:
            found.append(
                CheckResult(
                    source=source.name,
                    stream=stream.name,
                    ok=False,
                    message=str(error),
                    exit_code=error.exit_code,
                )
            )
            if stream.parent is None and not stream.extra_requests:
                break
            continue
        total = page.total if page.total is not None else f"{len(page.items)} on the first page"
        message = f"may be read ({total})"
        if stream.parent is None and not stream.extra_requests:
            named, _ = named_items(page.items[:1], stream)
            if not named:
                return [*found, _ok(source, stream, "may be read, and is empty")]
            external_id, item = named[0]
            partition = Partition(parent_id=external_id, parent_key=str(item.get("key", "")))
        elif provider.stream(stream.parent or stream.name).extra_requests == ():
            message += f" in {partition.parent_key}"
        found.append(_ok(source, stream, message))
    return found


def _ok(source: SourceSettings, stream: Stream, message: str) -> CheckResult:
    return CheckResult(source=source.name, stream=stream.name, ok=True, message=message)
