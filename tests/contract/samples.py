"""The vendors' sample bodies, and what the streams make of them."""

from collections.abc import Iterator
from pathlib import Path

from tests.support.internals.running import PROVIDERS
from tests.support.internals.values import (
    Json,
    Page,
    Partition,
    Record,
    Request,
    Stream,
    clean,
    fingerprint_with,
    parse,
)

FOLDER = Path(__file__).parent.parent / "samples"
FINGERPRINT = fingerprint_with("a key for tests")
PARTITION = Partition(parent_id="57be1db38b75bf0772d11383", parent_key="my-project")

PAGES = [
    ("launchdarkly", "projects", "projects"),
    ("launchdarkly", "projects", "projects_first_page"),
    ("launchdarkly", "projects", "projects_required_fields_only"),
    ("launchdarkly", "environments", "environments"),
    ("launchdarkly", "layers", "layers"),
    ("launchdarkly", "layers", "layers_with_reservations"),
    ("statsig", "layers", "layers"),
    ("statsig", "layers", "layers_last_page"),
    ("statsig", "layers", "layers_every_field"),
    ("layers", "projects", "projects"),
    ("layers", "projects", "projects_last_page"),
]


def body(provider: str, name: str) -> bytes:
    """A sample as it comes over the wire."""
    return (FOLDER / provider / f"{name}.json").read_bytes()


def sample(provider: str, name: str) -> Json:
    """A sample, parsed and redacted as the pipeline does."""
    raw = body(provider, name)
    return clean(parse(raw), raw, FINGERPRINT)


def first_request(stream: Stream) -> Request:
    """The first request of a stream with its default options."""
    return stream.first_request(PARTITION, stream.options())


def page(provider: str, stream_name: str, name: str) -> Page:
    """A sample read as a page."""
    stream = PROVIDERS[provider].stream(stream_name)
    return stream.read_page(sample(provider, name), first_request(stream))


def items() -> Iterator[tuple[str, Stream, Json]]:
    """Every item of every sample, the embedded ones too, with the stream it belongs to."""
    for provider, stream_name, name in PAGES:
        for number, item in enumerate(page(provider, stream_name, name).items):
            stream = PROVIDERS[provider].stream(stream_name)
            alone, embedded = stream.split_item(item)
            yield f"{provider}/{name}[{number}]", stream, alone
            for inside in embedded:
                inner = PROVIDERS[provider].stream(inside.stream)
                for place, one in enumerate(inside.items):
                    yield f"{provider}/{name}[{number}].{inner.name}[{place}]", inner, one
    for provider, stream_name, name in (
        ("launchdarkly", "projects", "project"),
        ("layers", "projects", "project"),
    ):
        stream = PROVIDERS[provider].stream(stream_name)
        yield f"{provider}/{name}", stream, stream.split_item(sample(provider, name))[0]
    layers = PROVIDERS["statsig"].stream("layers")
    yield "statsig/layer", layers, sample("statsig", "layer")["data"]


def stored(record: Record, raw: Json) -> list[Json]:
    """Everything that is kept of an item: columns, child rows and the item itself."""
    children = [
        {"key": child.key, "name": child.name, **child.columns}
        for rows in record.children.values()
        for child in rows
    ]
    typed = {"key": record.key, "name": record.name, **record.columns}
    return [typed, children, raw]
