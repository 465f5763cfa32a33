"""The one network module, against routes that respx answers."""

import gzip
import itertools
import json
import logging
import socket
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx
import pytest
import respx

from etl.errors import (
    AccessDenied,
    ProtocolError,
    RateLimited,
    RequestRejected,
    TransientError,
)
from etl.extract.client import Client, RetryPolicy, Unlimited
from etl.providers import PROVIDERS
from etl.providers.kit import Request
from tests.unit.builders import BASE, NOW, OWN_KEY, Clock, client

OK = httpx.Response(200, json={"items": []})
OTHER_SHAPE = "my-own-key-shape"
LIST = Request("/list", (("limit", "1"),))


@contextmanager
def vendor(*answers, host=BASE):
    """A vendor that gives these answers in turn, the last one for ever."""
    waiting = list(answers) or [OK]

    def answer(_request):
        given = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(given, Exception):
            raise given
        return given() if callable(given) else given

    with respx.mock(assert_all_called=False) as router:
        route = router.route(url__startswith=host).mock(side_effect=answer)
        yield route


def ask(request=LIST, clock=None, **fields):
    with closing(client(clock, **fields)) as asking:
        return asking.fetch(request)


def refused(kind, *answers, request=LIST, clock=None, **fields):
    with vendor(*answers) as route, pytest.raises(kind) as caught:
        ask(request, clock, **fields)
    return caught.value, route


def cut(body=b'{"items": [{"a": 1}'):
    """A 200 that says nothing of its length, as when the connection was closed early."""
    return lambda: httpx.Response(200, stream=httpx.ByteStream(body))


def refusal(status=429, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"message": "no"}, headers=named)


def query(route, call=0):
    return route.calls[call].request.url.query


def test_an_answer_brings_its_body():
    with vendor(httpx.Response(200, content=b'{"a": 1}')):
        assert ask().body == b'{"a": 1}'


def test_names_of_headers_come_in_lower_case():
    with vendor(httpx.Response(200, json={}, headers={"X-Odd-Name": "1"})):
        assert ask().headers["x-odd-name"] == "1"


def test_the_key_travels_in_the_header_of_the_vendor():
    with vendor() as route:
        ask(headers={"STATSIG-API-KEY": OWN_KEY})
    assert route.calls[0].request.headers["statsig-api-key"] == OWN_KEY


def test_parameters_are_encoded():
    with vendor() as route:
        ask(Request("/list", (("filter", "tags:a+b,query:x y"), ("cursor", "a=="))))
    assert query(route) == b"filter=tags%3Aa%2Bb%2Cquery%3Ax+y&cursor=a%3D%3D"


def test_repeated_parameters_stay_repeated():
    with vendor() as route:
        ask(Request("/list", (("tags", "a"), ("tags", "b"))))
    assert query(route) == b"tags=a&tags=b"


@pytest.mark.parametrize(
    "link",
    ["/list?limit=20&filter=tags%3Aa%2Bb&offset=20", f"{BASE}/list?limit=20&offset=20", "/list"],
)
def test_the_query_of_a_next_link_is_left_as_it_is(link):
    with vendor() as route:
        ask(Request(link))
    assert str(route.calls[0].request.url) == (link if link.startswith("h") else BASE + link)


def test_an_explicit_default_port_is_the_same_origin():
    with vendor() as route:
        ask(Request(f"{BASE}:443/list"))
    assert route.call_count == 1


def test_a_dot_segment_that_is_encoded_reaches_the_vendor_encoded():
    with vendor() as route:
        ask(Request("/layers/%2E%2E"))
    assert route.calls[0].request.url.raw_path == b"/layers/%2E%2E"


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/list",
        "//evil.example/list",
        "http://vendor.example/list",
        "https://vendor.example:8443/list",
        "https://vendor.example@evil.example/list",
        "https://user:pw@vendor.example/list",
        "https://user@vendor.example/list",
        "https://vendor.example.evil.example/list",
        "https://169.254.169.254/list",
        "https://[::1]/list",
        "ftp://vendor.example/list",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://xn--/list",
        "https://\u2100.example/list",
        "https://v\u0435ndor.example/list",
        "http://[::1",
        "https://vendor.example:port/list",
        "/list\x00",
        "/list\r\nX-Evil: 1",
        "/" + "a" * 70_000,
    ],
    ids=lambda link: repr(link[:40]),
)
def test_a_link_that_leaves_the_origin_is_refused_without_a_request(link):
    with respx.mock(assert_all_called=False) as router:
        router.route().mock(return_value=OK)
        with pytest.raises(ProtocolError):
            ask(Request(link))
        assert router.calls.call_count == 0


def test_the_refusal_of_a_foreign_link_shows_no_userinfo():
    error, _ = refused(ProtocolError, request=Request("https://user:pw@evil.example/x?token=t"))
    assert "pw" not in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status):
    away = httpx.Response(status, headers={"Location": "https://evil.example/"})
    error, route = refused(ProtocolError, away)
    assert (error.status, route.call_count) == (status, 1)


@pytest.mark.parametrize("status", [201, 204, 206])
def test_another_success_than_200_is_a_protocol_error(status):
    error, _ = refused(ProtocolError, httpx.Response(status, json={"items": []}))
    assert error.status == status


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_not_tried_again(status):
    _, route = refused(AccessDenied, refusal(status))
    assert route.call_count == 1


def test_a_key_that_is_echoed_is_not_shown():
    echo = httpx.Response(401, json={"message": "invalid key was sent. Key: my-own-key-shape"})
    error, _ = refused(AccessDenied, echo, secret=OTHER_SHAPE)
    assert "invalid key was sent. Key: [key]" in str(error)


def test_another_key_that_is_echoed_is_not_shown():
    other = "console-aaaaAAAA0000bbbbBBBB1111"
    error, _ = refused(AccessDenied, httpx.Response(401, json={"message": f"Key: {other}"}))
    assert other not in str(error)


def test_a_key_echoed_in_a_page_that_is_no_json_is_not_shown():
    echo = httpx.Response(200, content=b"<p>Key: my-own-key-shape</p>")
    error, _ = refused(ProtocolError, echo, secret=OTHER_SHAPE)
    assert "my-own-key-shape" not in str(error)


def test_a_key_cut_by_the_end_of_the_shown_start_is_not_shown_in_part():
    echo = httpx.Response(200, content=b"<p>" + b"-" * 44 + OWN_KEY.encode())
    error, _ = refused(ProtocolError, echo, secret="")
    assert OWN_KEY[:9] not in str(error)


def test_the_query_is_not_shown():
    request = Request("/list", (("search", "somebody@example.com"),))
    error, _ = refused(AccessDenied, refusal(403), request=request)
    assert str(error) == f"acme: 403 no ({BASE}/list?search)"


@pytest.mark.parametrize("shown", [repr, str])
def test_a_client_shows_no_key(shown):
    with closing(client()) as asking:
        assert OWN_KEY not in shown(asking)


def test_a_key_that_fits_no_header_is_not_shown():
    bad = "my-own\r\nkey"
    with socket.create_server(("127.0.0.1", 0)) as server:
        base = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(AccessDenied) as caught:
            ask(base_url=base, secret=bad, headers={"Authorization": bad})
    assert "my-own" not in str(caught.value)


def test_a_retry_logs_no_key(caplog):
    caplog.set_level(logging.DEBUG)
    echo = httpx.Response(429, json={"message": f"Key: {OWN_KEY}"})
    with vendor(echo, OK):
        ask()
    assert OWN_KEY not in caplog.text


@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 422])
def test_a_rejected_request_is_not_tried_again(status):
    _, route = refused(RequestRejected, refusal(status))
    assert route.call_count == 1


def test_a_rejection_brings_what_the_vendor_says():
    error, _ = refused(RequestRejected, refusal(422))
    assert "422 no" in str(error)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'"x"', b'{"message": NaN}'])
def test_a_refusal_in_another_shape_is_still_a_refusal(content):
    error, _ = refused(
        AccessDenied, httpx.Response(403, content=content), error_message=lambda _: ""
    )
    assert error.status == 403


def test_of_an_error_that_is_plain_text_the_start_is_told():
    error, _ = refused(RequestRejected, httpx.Response(400, text="x" * 500))
    assert ("x" * 100 in str(error), "x" * 101 in str(error)) == (True, False)


def test_an_endless_message_is_cut():
    error, _ = refused(RequestRejected, httpx.Response(400, json={"message": "x" * 10_000}))
    assert len(str(error)) < 700


def test_a_429_then_a_200_is_an_answer():
    with vendor(refusal(retry_after="3"), OK):
        assert ask().status == 200


def test_a_429_waits_what_is_asked_plus_jitter():
    clock = Clock()
    with vendor(refusal(retry_after="3"), OK):
        ask(clock=clock)
    assert clock.time - NOW == pytest.approx(3.5)


def test_a_429_without_headers_waits_ten_seconds_or_more():
    clock = Clock()
    with vendor(refusal(), OK):
        ask(clock=clock)
    assert 10 <= clock.time - NOW <= 11


def test_429s_with_retry_after_zero_are_no_hot_loop():
    clock = Clock()
    refused(TransientError, refusal(retry_after="0"), clock=clock)
    assert clock.time - NOW >= 5


def test_429s_end_after_the_attempts():
    _, route = refused(TransientError, refusal(retry_after="0"))
    assert route.call_count == RetryPolicy().attempts


def test_a_garbled_retry_after_is_an_ordinary_429():
    garbled = refusal(retry_after="Mon, 01 Jan 2024 00:00:00 +99999999999999999999")
    with vendor(garbled, OK):
        assert ask().status == 200


def test_a_wait_beyond_patience_is_not_waited():
    clock = Clock()
    refused(RateLimited, refusal(retry_after="86400"), clock=clock)
    assert clock.time == NOW


def test_a_wait_beyond_patience_names_the_time_to_come_back():
    error, _ = refused(RateLimited, refusal(retry_after="86400"))
    assert error.retry_at.timestamp() == pytest.approx(NOW + 86400.5)


@pytest.mark.parametrize("text", ["1e300", "9" * 300])
def test_an_absurd_wait_is_rate_limited_too(text):
    error, _ = refused(RateLimited, refusal(retry_after=text))
    assert error.exit_code == 75


def test_an_absurd_reset_announced_with_an_answer_costs_a_minute_at_most():
    clock = Clock()
    announced = {"x-ratelimit-global-remaining": "0", "x-ratelimit-reset": str((NOW + 999) * 1000)}
    with vendor(httpx.Response(200, json={}, headers=announced), OK), closing(client(clock)) as c:
        c.fetch(LIST)
        c.fetch(LIST)
    assert clock.time - NOW == pytest.approx(60.5)


def test_who_is_told_to_wait_longer_than_its_patience_does_not_ask():
    impatient = client(patience=RetryPolicy(seconds=5))
    announced = {"x-ratelimit-global-remaining": "0", "x-ratelimit-reset": str((NOW + 20) * 1000)}
    answer = httpx.Response(200, json={}, headers=announced)
    with vendor(answer) as route, closing(impatient) as asking:
        asking.fetch(LIST)
        with pytest.raises(RateLimited):
            asking.fetch(LIST)
    assert route.call_count == 1


def test_who_is_refused_and_then_told_to_wait_longer_says_what_the_refusal_was():
    class Later(Unlimited):
        """Others with the same key were told to wait longer."""

        until = 0.0

        def turn(self):
            return self.until

        def block(self, until, reason=""):
            self.until = until + 600

    error, route = refused(RateLimited, refusal(retry_after="3"), turns=Later())
    assert str(error).startswith(f"acme: 429 no ({BASE}/list?limit); it asks to wait until ")
    assert route.call_count == 1


def test_what_other_threads_may_be_sending_is_taken_from_the_budget():
    """Two requests were in flight at once: of one that is left the other may be on its way."""
    clock = Clock()
    left = {"x-ratelimit-global-remaining": "1", "x-ratelimit-reset": str((NOW + 8) * 1000)}
    one_left = httpx.Response(200, json={}, headers=left)
    with closing(client(clock)) as asking:

        def meanwhile():
            asking.fetch(LIST)
            return OK

        with vendor(meanwhile, OK, one_left, OK):
            for _ in range(3):
                asking.fetch(LIST)
    assert clock.time - NOW == pytest.approx(8.5)


def test_after_an_answer_no_request_is_in_flight():
    with vendor(), closing(client()) as asking:
        asking.fetch(LIST)
        assert asking.answered(within=0.0)


def test_a_client_that_is_finished_asks_no_more():
    with vendor() as route, closing(client()) as asking:
        asking.finish()
        with pytest.raises(TransientError, match="stopped"):
            asking.fetch(LIST)
    assert route.call_count == 0


def test_an_empty_budget_pauses_before_the_next_request():
    clock = Clock()
    announced = {"x-ratelimit-route-remaining": "0", "x-ratelimit-reset": str((NOW + 8) * 1000)}
    with vendor(httpx.Response(200, json={}, headers=announced), OK), closing(client(clock)) as c:
        c.fetch(LIST)
        c.fetch(LIST)
    assert clock.time - NOW == pytest.approx(8.5)


@contextmanager
def one_thread_refused(clock, asking):
    """Another thread asks for /first, is refused, and waits in the block."""
    waits, go_on = threading.Event(), threading.Event()
    main = threading.current_thread()

    def sleep(pause):
        if threading.current_thread() is not main:
            waits.set()
            go_on.wait(60)
        clock.sleep(pause)

    asking.sleep = sleep
    thread = threading.Thread(target=asking.fetch, args=(Request("/first"),))
    thread.start()
    assert waits.wait(60)
    try:
        yield
    finally:
        go_on.set()
        thread.join()


def test_one_429_pauses_every_thread():
    clock = Clock()
    asked: list[tuple[str, float]] = []

    def answer(request):
        asked.append((request.url.path, clock.time - NOW))
        return refusal(retry_after="30") if len(asked) == 1 else OK

    with respx.mock() as router, closing(client(clock)) as asking:
        router.route(url__startswith=BASE).mock(side_effect=answer)
        with one_thread_refused(clock, asking):
            asking.fetch(Request("/second"))
    assert [path for path, _ in asked[:2]] == ["/first", "/second"]
    assert asked[1][1] >= 30


def test_a_503_pauses_only_who_got_it():
    clock = Clock()
    asked: list[tuple[str, float]] = []

    def answer(request):
        asked.append((request.url.path, clock.time - NOW))
        return refusal(503, retry_after="30") if len(asked) == 1 else OK

    with respx.mock() as router, closing(client(clock)) as asking:
        router.route(url__startswith=BASE).mock(side_effect=answer)
        with one_thread_refused(clock, asking):
            asking.fetch(Request("/second"))
    assert asked[1] == ("/second", 0)


def test_a_shorter_refusal_does_not_shorten_a_longer_one():
    """Both were on their way when the vendor refused: the second answer comes later, with less."""
    clock = Clock()
    asked: list[tuple[str, float]] = []
    both = threading.Barrier(2)
    first_refused = threading.Event()

    def answer(request):
        with lock:
            asked.append((request.url.path, clock.time - NOW))
            count = len(asked)
        if count > 2:
            return OK
        both.wait(60)
        if request.url.path == "/long":
            return refusal(retry_after="60")
        assert first_refused.wait(60)
        return refusal(retry_after="5")

    lock = threading.Lock()
    main, sleeps = threading.current_thread(), threading.Event()

    def sleep(pause):
        if threading.current_thread() is not main:
            first_refused.set()
            sleeps.wait(60)
        clock.sleep(pause)

    with respx.mock() as router, closing(client(clock)) as asking:
        router.route(url__startswith=BASE).mock(side_effect=answer)
        asking.sleep = sleep
        thread = threading.Thread(target=asking.fetch, args=(Request("/long"),))
        thread.start()
        asking.fetch(Request("/short"))
        sleeps.set()
        thread.join()
    again = [when for path, when in asked[2:] if path == "/short"]
    assert again[0] >= 60


def test_an_empty_budget_does_not_hold_back_the_answer_that_announced_it():
    clock = Clock()
    announced = {"x-ratelimit-route-remaining": "0", "x-ratelimit-reset": str((NOW + 8) * 1000)}
    with vendor(httpx.Response(200, json={}, headers=announced)):
        ask(clock=clock)
    assert clock.time == NOW


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
def test_a_burst_of_server_errors_is_bounded(status):
    _, route = refused(TransientError, refusal(status))
    assert route.call_count == RetryPolicy().attempts


def test_a_passing_server_error_is_survived():
    with vendor(refusal(500), refusal(502), refusal(503), OK):
        assert ask().status == 200


def test_server_errors_are_waited_out_with_growing_pauses():
    clock = Clock()
    refused(TransientError, refusal(500), clock=clock)
    assert clock.time - NOW == pytest.approx(0.5 * (1 + 2 + 4 + 8 + 16))


def test_a_server_error_that_never_passes_is_not_tried_again():
    _, route = refused(TransientError, refusal(501))
    assert route.call_count == 1


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("peer closed connection"),
        httpx.PoolTimeout("full"),
    ],
    ids=lambda trouble: type(trouble).__name__,
)
def test_a_passing_trouble_of_the_network_is_survived(trouble):
    with vendor(trouble, OK):
        assert ask().status == 200


def test_a_lasting_trouble_of_the_network_is_transient():
    _, route = refused(TransientError, httpx.ConnectError("refused"))
    assert route.call_count == RetryPolicy().attempts


@pytest.mark.parametrize(
    "half",
    [b'{"items": [{"a": 1', b'{"items": [{"a": 1}', b'{"items": [[1]', b'{"items": [', b""],
)
def test_half_a_body_is_asked_again(half):
    with vendor(cut(half), OK):
        assert ask().body == OK.content


def test_a_whole_body_of_unsaid_length_is_taken():
    with vendor(cut(b'{"items": [{"a": 1}]}\n')) as route:
        ask()
    assert route.call_count == 1


@pytest.mark.parametrize("said", [{"Transfer-Encoding": "chunked"}, {"Content-Length": "19"}])
def test_a_body_whose_length_was_said_came_whole(said):
    body = b'{"items": [{"a": 1}'  # as the vendor meant it: whoever reads it says what is wrong
    answer = lambda: httpx.Response(200, headers=said, stream=httpx.ByteStream(body))  # noqa: E731
    with vendor(answer) as route:
        assert ask().body == body
    assert route.call_count == 1


def test_a_body_that_stays_half_is_a_protocol_error():
    _, route = refused(ProtocolError, cut())
    assert route.call_count == RetryPolicy().attempts


def test_an_html_page_is_a_protocol_error():
    error, _ = refused(ProtocolError, httpx.Response(200, html="<html>log in</html>"))
    assert "<html>log in" in str(error)


def test_a_body_above_the_cap_is_refused_at_once():
    large = httpx.Response(200, content=b'{"a": "' + b"x" * 2000 + b'"}')
    _, route = refused(ProtocolError, large, patience=RetryPolicy(max_body=1000))
    assert route.call_count == 1


def test_a_body_below_the_cap_is_taken():
    with vendor(httpx.Response(200, content=b"[" + b" " * 900 + b"]")):
        assert len(ask(patience=RetryPolicy(max_body=1000)).body) == 902


def test_a_broken_compression_is_asked_again():
    broken = httpx.Response(
        200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip")
    )
    with vendor(lambda: broken, OK):
        assert ask().status == 200


def test_an_answer_that_never_ends_is_cut_off():
    clock = Clock()

    class Trickle(httpx.SyncByteStream):
        def __iter__(self):
            for _ in range(1000):
                clock.sleep(1)
                yield b" "

    slow = lambda: httpx.Response(200, stream=Trickle())  # noqa: E731
    refused(
        TransientError,
        slow,
        clock=clock,
        patience=RetryPolicy(timeout=20, attempts=2),
        jitter=float,
    )
    assert clock.time - NOW == pytest.approx(42)


def test_requests_and_retries_are_counted():
    with vendor(refusal(500), OK), closing(client()) as asking:
        asking.fetch(LIST)
        assert (asking.traffic.requests, asking.traffic.retries) == (2, 1)


def test_what_is_waited_is_counted():
    with vendor(refusal(retry_after="3"), OK), closing(client()) as asking:
        asking.fetch(LIST)
        assert asking.traffic.waited == pytest.approx(3.5)


def test_what_two_threads_wait_at_the_same_time_counts_once():
    clock, both = Clock(), threading.Barrier(2)

    def sleep(seconds):
        if both.wait(10) == 0:  # the other one sleeps too; the time passes once
            clock.sleep(seconds)
        both.wait(10)

    with vendor(refusal(500), refusal(500), OK), closing(client(clock, sleep=sleep)) as asking:
        with ThreadPoolExecutor(2) as threads:
            assert len(list(threads.map(asking.fetch, [LIST, LIST]))) == 2
        assert asking.traffic.waited == pytest.approx(clock.time - NOW)
        assert asking.traffic.waited > 0


def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    with vendor() as route:
        ask()
    assert route.call_count == 1


def test_a_connection_closed_in_mid_body_is_transient():
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer_half, args=(server, 2), daemon=True).start()
        base = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(TransientError, match="after 2 tries"):
            ask(base_url=base, patience=RetryPolicy(attempts=2))


def _answer_half(server, times):
    for _ in range(times):
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"items": [')


def test_the_defaults_are_the_real_clock_and_network():
    with closing(Client(source="a", base_url="http://127.0.0.1:9", headers={}, secret="")) as real:
        assert abs(real.clock() - 1.7e9) < 3e9


PAGE = b'{"items": [{"a": 1}]}'
ZIPPED = gzip.compress(PAGE)


def deflated(wbits):
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(PAGE) + packer.flush()


CODINGS = {
    "two members": ("gzip", gzip.compress(PAGE[:5]) + gzip.compress(PAGE[5:])),
    "many members": ("gzip", b"".join(gzip.compress(PAGE[i : i + 1]) for i in range(len(PAGE)))),
    "an empty member": ("gzip", gzip.compress(b"") + ZIPPED),
    "zeros behind it": ("gzip", ZIPPED + b"\0" * 512),
    "an old name": ("x-gzip", ZIPPED),
    "an upper case name": ("GZip", ZIPPED),
    "an empty name": ("", PAGE),
    "identity": ("identity", PAGE),
    "deflate with zlib": ("deflate", deflated(15)),
    "deflate without": ("deflate", deflated(-15)),
    "two codings": ("deflate, gzip", gzip.compress(deflated(15))),
    "identity and gzip": ("identity, gzip,", ZIPPED),
    "large pieces": ("gzip", gzip.compress(PAGE + b" " * 2**20, 9)),
}


@pytest.mark.parametrize("piece", [1, 7, 2**16])
@pytest.mark.parametrize(("coding", "packed"), CODINGS.values(), ids=CODINGS)
def test_a_body_is_decoded_as_its_codings_say(coding, packed, piece):
    pieces = [packed[at : at + piece] for at in range(0, len(packed), piece)]
    answer = httpx.Response(200, headers={"Content-Encoding": coding}, content=iter(pieces))
    with vendor(lambda: answer):
        assert ask().body.strip() == PAGE


BROKEN = {
    "cut": ZIPPED[:-9],
    "cut between members": ZIPPED + gzip.compress(b" ")[:5],
    "followed by something else": ZIPPED + b"<html>",
    "no gzip": PAGE,
}


@pytest.mark.parametrize("packed", BROKEN.values(), ids=BROKEN)
def test_a_packed_body_that_is_not_whole_is_asked_again_and_named(packed):
    made = lambda: httpx.Response(  # noqa: E731
        200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(packed)
    )
    error, route = refused(ProtocolError, made)
    assert route.call_count == RetryPolicy().attempts
    assert "the body cannot be decoded" in str(error)


def test_a_coding_that_nobody_asked_for_is_named_at_once():
    made = lambda: httpx.Response(  # noqa: E731
        200, headers={"Content-Encoding": "br"}, stream=httpx.ByteStream(PAGE)
    )
    error, route = refused(ProtocolError, made)
    assert route.call_count == 1
    assert "'br'" in str(error)


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip"])
def test_a_bomb_of_many_members_is_capped(coding):
    packed = gzip.compress(b" " * 2**20, 9) * 20
    for _ in coding.split(",")[1:]:
        packed = gzip.compress(packed)
    made = lambda: httpx.Response(  # noqa: E731
        200, headers={"Content-Encoding": coding}, stream=httpx.ByteStream(packed)
    )
    refused(ProtocolError, made, patience=RetryPolicy(max_body=2**20))


SERVER_ERRORS = [500, 503, 507, 508, 520, 521, 522, 523, 524, 525, 527, 529, 530, 599]


@pytest.mark.parametrize("status", SERVER_ERRORS)
def test_every_server_error_may_pass(status):
    with vendor(refusal(status), OK):
        assert ask().status == 200


def test_the_longest_of_several_retry_afters_is_waited():
    clock = Clock()
    headers = [("Retry-After", "1"), ("Retry-After", "5"), ("Retry-After", "3")]
    with vendor(httpx.Response(429, headers=headers), OK):
        ask(clock=clock)
    assert clock.time - NOW == pytest.approx(5.5)


def test_an_absurd_wait_ends_after_an_hour():
    error, _ = refused(RateLimited, refusal(retry_after="1e20"))
    assert error.retry_at.timestamp() == pytest.approx(NOW + 3600, abs=2)


def test_a_wait_beyond_patience_tells_its_cause_first():
    error, _ = refused(
        RateLimited,
        httpx.Response(503, json={"message": "maintenance"}, headers={"Retry-After": "3600"}),
    )
    assert str(error).startswith("acme: 503 maintenance; it asks to wait until ")
    assert f"({BASE}/list?limit)" in str(error)
    assert "--retry-now" in str(error)


def test_a_server_error_without_patience_is_told_as_it_is():
    error, _ = refused(TransientError, refusal(500), patience=RetryPolicy(seconds=0.1))
    assert not isinstance(error, RateLimited)
    assert "500 no" in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_origin_is_followed(status):
    there = httpx.Response(status, headers={"Location": "/elsewhere?limit=1#part"})
    with vendor(there, OK) as route:
        assert ask().status == 200
    assert str(route.calls[1].request.url) == f"{BASE}/elsewhere?limit=1"


LOCATIONS = {
    "another host": "https://evil.example/list?limit=1",
    "another port": "https://vendor.example:8443/list?limit=1",
    "no TLS": "http://vendor.example/list?limit=1",
    "another query": "/list?limit=2",
    "no query": "/list",
    "a user": "https://me@vendor.example/list?limit=1",
    "itself": "/list?limit=1",
}


@pytest.mark.parametrize("location", LOCATIONS.values(), ids=LOCATIONS)
def test_another_redirect_is_reported_with_its_target(location):
    error, route = refused(ProtocolError, httpx.Response(307, headers={"Location": location}))
    assert route.call_count == 1
    assert "307 Temporary Redirect: a redirect to http" in str(error)
    assert "me@" not in str(error)


def test_redirects_end():
    count = itertools.count()
    far = lambda: httpx.Response(302, headers={"Location": f"/{next(count)}?limit=1"})  # noqa: E731
    _, route = refused(ProtocolError, far)
    assert route.call_count == 6


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_missing_behind_a_redirect_is_not_missing(status):
    there = httpx.Response(302, headers={"Location": "/gone?limit=1"})
    refused(ProtocolError, there, refusal(status))


MESSAGES = {
    '{"code": "denied", "message": "no\\n  way"}': "denied: no way",
    '{"error": {"code": "E", "message": "m"}}': "E: m",
    '{"error": "invalid", "error_description": "expired"}': "invalid: expired",
    '{"errors": [{"title": "Bad", "detail": "worse"}]}': "Bad: worse",
    "<html><title>Just a moment</title>": "Just a moment",
    "upstream\nconnect error": "upstream connect error",
    "": "Bad Request",
}


@pytest.mark.parametrize(("body", "said"), MESSAGES.items())
def test_what_an_error_says_is_told_in_one_line(body, said):
    error, _ = refused(
        RequestRejected, httpx.Response(400, text=body), error_message=lambda _body: ": "
    )
    assert str(error) == f"acme: 400 {said} ({BASE}/list?limit)"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"message": "x"}, "x"),
        ({"code": None, "message": "x"}, "x"),
        ({"code": "", "message": " x "}, "x"),
        ({"code": "c"}, "c"),
        ({"code": "c", "message": None}, "c"),
        ({"code": {}, "message": []}, "Bad Request"),
        ({"code": "c", "message": "m"}, "c: m"),
    ],
)
def test_an_error_that_lacks_a_part_is_told_without_it(provider, error, said):
    body = {"error": error} if provider == "layers" else error
    own = PROVIDERS[provider].error_message
    told, _ = refused(RequestRejected, httpx.Response(400, json=body), error_message=own)
    assert str(told) == f"acme: 400 {said} ({BASE}/list?limit)"


@pytest.mark.parametrize("body", ["null", "true", '"maintenance"', "12"])
def test_json_that_is_no_object_and_no_list_is_told_as_that(body):
    error, _ = refused(ProtocolError, httpx.Response(200, text=body))
    assert f"no object and no list of JSON, it starts {body!r}" in str(error)


def test_an_endless_error_is_not_read_to_its_end():
    endless = lambda: httpx.Response(400, content=itertools.repeat(b"x" * 1000))  # noqa: E731
    refused(RequestRejected, endless)


def test_a_cookie_is_not_sent_back():
    cookie = httpx.Response(200, json={}, headers={"Set-Cookie": "a=b"})
    with vendor(cookie) as route, closing(client()) as asking:
        asking.fetch(LIST)
        asking.fetch(LIST)
    assert "cookie" not in route.calls[1].request.headers


def test_the_key_is_not_in_an_answer_that_repeats_it():
    with vendor(httpx.Response(200, json={"token": OWN_KEY, OWN_KEY: f"Bearer {OWN_KEY}"})):
        body = ask().body
    assert json.loads(body) == {"token": "[key]", "[key]": "Bearer [key]"}
