"""What is asked of the vendors, and how their refusals read."""

from contextlib import closing

import httpx
import pytest
import respx

from tests.contract.samples import PARTITION, page, sample
from tests.support.internals.running import PROVIDERS, Client
from tests.support.internals.values import Partition, Request

LAUNCHDARKLY, STATSIG, LAYERS = (PROVIDERS[name] for name in ("launchdarkly", "statsig", "layers"))


def sent(provider, request, key="key"):
    """The request as it goes out."""
    with respx.mock() as router:
        route = router.route().mock(return_value=httpx.Response(200, json={}))
        asking = Client(
            source="a", base_url=provider.base_url, headers=provider.headers(key), secret=key
        )
        with closing(asking):
            asking.fetch(request)
        return route.calls[0].request


def first(provider, stream, partition=PARTITION, **options):
    chosen = provider.stream(stream)
    return chosen.first_request(partition, chosen.options(**options))


def url(provider, stream, **options):
    return str(sent(provider, first(provider, stream, **options)).url)


def path(provider, request):
    return sent(provider, request).url.raw_path.decode()


def test_launchdarkly_projects_are_asked_for_with_their_environments():
    assert url(LAUNCHDARKLY, "projects") == (
        "https://app.launchdarkly.com/api/v2/projects"
        "?limit=100&offset=0&sort=createdOn&expand=environments"
    )


def test_launchdarkly_projects_take_every_option_of_the_page():
    asked = url(
        LAUNCHDARKLY,
        "projects",
        filter="query:abc,tags:tag-1+tag-2",
        sort="-name",
        page_size=20,
        environments=False,
    )
    assert asked == (
        "https://app.launchdarkly.com/api/v2/projects?limit=20&offset=0&sort=-name"
        "&filter=query%3Aabc%2Ctags%3Atag-1%2Btag-2"
    )


def test_launchdarkly_layers_are_asked_for_by_project():
    assert url(LAUNCHDARKLY, "layers") == (
        "https://app.launchdarkly.com/api/v2/projects/my-project/layers"
    )


def test_launchdarkly_layers_take_the_filter_of_the_page():
    asked = url(LAUNCHDARKLY, "layers", filter="reservations.experimentKey contains expKey")
    assert asked.endswith("/layers?filter=reservations.experimentKey+contains+expKey")


def test_launchdarkly_environments_are_asked_for_by_project():
    assert url(LAUNCHDARKLY, "environments") == (
        "https://app.launchdarkly.com/api/v2/projects/my-project/environments"
        "?limit=100&offset=0&sort=createdOn"
    )


def test_a_launchdarkly_next_link_goes_out_as_it_came():
    request = page("launchdarkly", "projects", "projects_first_page").next
    assert request is not None
    assert path(LAUNCHDARKLY, request) == request.path


def test_statsig_layers_send_page_and_limit():
    assert url(STATSIG, "layers") == "https://statsigapi.net/console/v1/layers?limit=100&page=1"


def test_statsig_layers_take_every_option_of_the_page():
    asked = url(
        STATSIG,
        "layers",
        tags=["tag1", "tag 2"],
        creator_name="Test User",
        creator_id="6Q78",
        page_size=10,
    )
    assert asked == (
        "https://statsigapi.net/console/v1/layers?limit=10&page=1&tags=tag1&tags=tag+2"
        "&creatorName=Test+User&creatorID=6Q78"
    )


def test_the_next_statsig_page_keeps_every_option():
    request = first(STATSIG, "layers", tags=["a", "b"], creator_name="x")
    following = STATSIG.stream("layers").read_page(sample("statsig", "layers"), request).next
    assert following is not None
    assert path(STATSIG, following) == (
        "/console/v1/layers?limit=100&tags=a&tags=b&creatorName=x&page=2"
    )


def test_layers_projects_are_asked_for_in_the_largest_pages():
    assert url(LAYERS, "projects") == "https://api.layers.com/v1/projects?limit=200"


def test_layers_projects_take_every_option_of_the_page():
    asked = url(
        LAYERS,
        "projects",
        status="archived",
        search="Acme & Co",
        customer_external_id="acme-coffee",
        page_size=25,
    )
    assert asked == (
        "https://api.layers.com/v1/projects?limit=25&status=archived&search=Acme+%26+Co"
        "&customerExternalId=acme-coffee"
    )


def test_a_layers_cursor_is_encoded():
    request = page("layers", "projects", "projects").next
    assert request is not None
    assert path(LAYERS, request) == "/v1/projects?limit=200&cursor=eyJvZmZzZXQiOjI1fQ%3D%3D"


@pytest.mark.parametrize(
    ("provider", "headers"),
    [
        (LAUNCHDARKLY, {"authorization": "key", "ld-api-version": "20240415"}),
        (STATSIG, {"statsig-api-key": "key", "statsig-api-version": "20240601"}),
        (LAYERS, {"authorization": "Bearer key"}),
    ],
    ids=["launchdarkly", "statsig", "layers"],
)
def test_the_key_and_the_version_are_sent_as_the_vendor_wants_them(provider, headers):
    out = sent(
        provider, provider.streams[-1].first_request(PARTITION, provider.streams[-1].options())
    )
    assert {name: out.headers[name] for name in headers} == headers


def one(provider, stream, external_id, key):
    build = provider.stream(stream).item_request
    assert build is not None
    return path(provider, build(external_id, key))


ODD = ["a b", "a::b!", "a/b", "100%", "a?b#c", "ü", ".", "..", "%2E%2E", "a+b", "a&b=c", "a\\b"]


def path_part(text):
    """The text as one step of a path, written by hand."""
    return "".join(
        chr(byte)
        if chr(byte).isascii() and (chr(byte).isalnum() or byte in b"-_~")
        else f"%{byte:02X}"
        for byte in text.encode()
    )


def plain(found):
    """A dot may or may not be encoded; where it matters another test says so."""
    return found.replace(".", "%2E")


@pytest.mark.parametrize("text", ODD)
def test_an_odd_statsig_id_is_one_step_of_the_path(text):
    assert plain(one(STATSIG, "layers", text, "")) == f"/console/v1/layers/{path_part(text)}"


@pytest.mark.parametrize("text", ODD)
def test_an_odd_layers_id_is_one_step_of_the_path(text):
    assert plain(one(LAYERS, "projects", text, "")) == f"/v1/projects/prj_{path_part(text)}"


@pytest.mark.parametrize("text", ODD)
def test_an_odd_launchdarkly_key_is_one_step_of_the_path(text):
    assert plain(one(LAUNCHDARKLY, "projects", "x", text)) == f"/api/v2/projects/{path_part(text)}"


@pytest.mark.parametrize("stream", ["environments", "layers"])
@pytest.mark.parametrize("text", ODD)
def test_an_odd_project_key_is_one_step_of_the_path_of_its_streams(text, stream):
    request = first(LAUNCHDARKLY, stream, Partition(parent_id="x", parent_key=text))
    asked = path(LAUNCHDARKLY, request).partition("?")[0]
    assert plain(asked) == f"/api/v2/projects/{path_part(text)}/{stream}"


@pytest.mark.parametrize(
    ("provider", "name", "says"),
    [
        (LAUNCHDARKLY, "error_400", "invalid_request: Invalid request body"),
        (LAUNCHDARKLY, "error_401", "unauthorized: Invalid access token"),
        (
            LAUNCHDARKLY,
            "error_403",
            "forbidden: Forbidden. Access to the requested resource was denied.",
        ),
        (LAUNCHDARKLY, "error_404", "not_found: Invalid resource identifier"),
        (
            LAUNCHDARKLY,
            "error_429",
            "rate_limited: You've exceeded the API rate limit. Try again later.",
        ),
        (LAUNCHDARKLY, "error_with_id", "unauthorized: Invalid access token"),
        (STATSIG, "error_400", "Invalid request. Please check the request input and try again."),
        (
            STATSIG,
            "error_401",
            "This endpoint only accepts an active CONSOLE key, but an invalid key was sent. "
            "Key: console-xxxXXXxxxXXXxxx",
        ),
        *(
            (LAYERS, f"error_{status}", f"{code}: {text} (req_01HX9Y7K8M2P4RSTUV56789ABC)")
            for status, code, text in (
                (401, "UNAUTHENTICATED", "Missing or invalid key."),
                (403, "FORBIDDEN_SCOPE", "Key lacks projects:read."),
                (404, "NOT_FOUND", "No such project."),
                (422, "VALIDATION", "limit out of range or cursor malformed."),
                (429, "RATE_LIMITED", "Honor Retry-After."),
            )
        ),
    ],
)
def test_a_documented_error_is_read(provider, name, says):
    assert provider.error_message(sample(provider.name, name)) == says


@pytest.mark.parametrize("body", [[], None, "x", 5, {}, {"error": "x"}, {"error": None}])
@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_an_undocumented_error_is_read_as_text_too(provider, body):
    assert isinstance(provider.error_message(body), str)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_whoami_is_a_path_of_the_vendor(provider):
    assert sent(provider, Request(provider.whoami.path)).url.host in provider.base_url


def test_a_provider_has_no_stream_of_another_name():
    with pytest.raises(KeyError):
        STATSIG.stream("tea")


@pytest.mark.parametrize(
    ("provider", "stream", "options"),
    [
        (LAUNCHDARKLY, "projects", {"filter": "query:a"}),
        (LAUNCHDARKLY, "layers", {"filter": "reservations.experimentKey contains a"}),
        (STATSIG, "layers", {"tags": ["a"]}),
        (STATSIG, "layers", {"creator_name": "a"}),
        (STATSIG, "layers", {"creator_id": "a"}),
        (LAYERS, "projects", {"status": "active"}),
        (LAYERS, "projects", {"search": "a"}),
        (LAYERS, "projects", {"customer_external_id": "a"}),
    ],
)
def test_an_option_that_leaves_records_out_is_a_filter(provider, stream, options):
    chosen = provider.stream(stream)
    assert chosen.filter_of(chosen.options(**options)) == options


@pytest.mark.parametrize(
    "stream",
    [stream for provider in PROVIDERS.values() for stream in provider.streams],
    ids=[f"{p.name}/{s.name}" for p in PROVIDERS.values() for s in p.streams],
)
def test_the_default_options_leave_nothing_out(stream):
    assert stream.filter_of(stream.options()) == {}


def embedded(environments, **fields):
    item = {"_id": "p", "key": "k", "environments": environments, **fields}
    return LAUNCHDARKLY.stream("projects").split_item(item)[1]


@pytest.mark.parametrize(
    ("envelope", "complete"),
    [
        ({"totalCount": 1, "_links": {}}, True),
        ({"totalCount": 1}, True),
        ({"_links": {}}, True),
        ({"totalCount": 2, "_links": {}}, False),
        ({"totalCount": 1, "_links": {"next": {"href": "/x"}}}, False),
        ({}, False),
        ({"totalCount": "1", "_links": None}, True),
        ({"totalCount": "one", "_links": None}, False),
    ],
)
def test_an_embedded_list_is_complete_when_the_vendor_says_so(envelope, complete):
    found = embedded({"items": [{"_id": "e"}], **envelope})
    assert found[0].complete is complete


@pytest.mark.parametrize("environments", [None, [], {}, {"items": None}, "x"])
def test_environments_in_another_shape_are_none_that_came(environments):
    assert embedded(environments) == ()


@pytest.mark.parametrize("key", [None, 5, {}])
def test_a_project_without_a_usable_key_carries_nothing(key):
    assert embedded({"items": []}, key=key) == ()


def test_a_project_without_any_key_carries_nothing():
    item = {"_id": "p", "environments": {"items": []}}
    assert LAUNCHDARKLY.stream("projects").split_item(item) == (item, ())
