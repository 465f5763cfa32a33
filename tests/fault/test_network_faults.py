"""What fails before an answer comes: hosts, certificates, proxies. What passes is asked again."""

import socket
from contextlib import closing, contextmanager

import pytest

from etl.errors import ConnectionFailed, ProtocolError, SourceError, TransientError
from tests.support import tls
from tests.support.internals.running import Client, RetryPolicy
from tests.support.internals.values import Request
from tests.unit.builders import client

LIST = Request("/list")
BODY = tls.answer(b'{"items": []}')


def failing(own: Client, kind: type[SourceError]) -> SourceError:
    with closing(own), pytest.raises(kind) as caught:
        own.fetch(LIST)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture
def names(monkeypatch):
    """A name service that fails with these errors in turn, the last one for ever; 0: it works."""
    real = socket.getaddrinfo

    def failing_with(*numbers):
        waiting = list(numbers)

        def look_up(*args, **options):
            number = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if number:
                raise socket.gaierror(number, "Name or service not known")
            return real(*args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return failing_with


@pytest.mark.parametrize("number", [socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_FAIL])
def test_an_unknown_host_is_not_asked_for_again(number, names):
    names(number)
    own = client()
    error = failing(own, ConnectionFailed)
    assert own.traffic.requests == 1
    assert error.exit_code == 1
    assert "the host vendor.example is unknown" in str(error)
    assert "base_url" in str(error)


def test_a_temporary_failure_of_the_name_service_is_asked_again(names):
    names(socket.EAI_AGAIN)
    own = client()
    error = failing(own, TransientError)
    assert own.traffic.requests == RetryPolicy().attempts
    assert error.exit_code == 75


def test_a_host_that_answered_before_is_a_known_one(names):
    names(0, socket.EAI_NONAME, 0)
    with tls.plain_server(BODY) as server, closing(client(base_url=server.url)) as own:
        own.fetch(LIST)
        assert own.fetch(LIST).status == 200


def test_a_proxy_of_the_environment_is_named_where_connecting_fails(names):
    names(socket.EAI_AGAIN)
    error = failing(client(ignored_proxies=("HTTPS_PROXY",)), TransientError)
    assert 'HTTPS_PROXY is set but not used: write proxy = { env = "HTTPS_PROXY" }' in str(error)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".example"])
def test_a_real_name_that_nobody_has_ends_at_once(host):
    own = client(base_url=f"https://{host}")
    error = failing(own, SourceError)
    if isinstance(error, ConnectionFailed):  # a machine without a name service says "later"
        assert own.traffic.requests == 1


def test_a_refused_connection_is_asked_again():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    own = client(base_url=f"http://127.0.0.1:{port}")
    error = failing(own, TransientError)
    assert own.traffic.requests == RetryPolicy().attempts
    assert f"the host 127.0.0.1:{port} cannot be reached: Connection refused" in str(error)


CERTIFICATES = {
    "of an unknown authority": (tls.STRANGER.issue_cert("localhost"), "SSL_CERT_FILE"),
    "of another host": (tls.AUTHORITY.issue_cert("other.example"), "Check base_url"),
    "that expired": (tls.AUTHORITY.issue_cert("localhost", not_after=tls.EXPIRED), "expired"),
}


@pytest.mark.parametrize(("certificate", "said"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_bad_certificate_is_not_asked_for_again(certificate, said, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority_file(tmp_path)))
    with tls.tls_server(certificate, BODY) as server:
        own = client(base_url=f"https://localhost:{server.port}")
        error = failing(own, ConnectionFailed)
    assert own.traffic.requests == 1
    assert error.exit_code == 1
    assert f"the certificate of localhost:{server.port} is not trusted" in str(error)
    assert said in str(error)


def test_a_certificate_of_the_authority_in_ssl_cert_file_is_trusted(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority_file(tmp_path)))
    with (
        tls.tls_server(tls.AUTHORITY.issue_cert("localhost"), BODY) as server,
        closing(client(base_url=f"https://localhost:{server.port}")) as own,
    ):
        assert own.fetch(LIST).body == b'{"items": []}'


def test_https_to_a_server_without_tls_is_not_asked_again():
    def refuse(_server, connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with tls.serving(refuse) as server:
        own = client(base_url=f"https://localhost:{server.port}")
        error = failing(own, ConnectionFailed)
    assert own.traffic.requests == 1
    assert "does not speak TLS" in str(error)


def test_a_handshake_that_breaks_off_is_asked_again():
    with tls.serving(lambda _server, connection: connection.recv(65536)) as server:
        own = client(base_url=f"https://localhost:{server.port}")
        failing(own, TransientError)
    assert own.traffic.requests == RetryPolicy().attempts


@contextmanager
def behind_proxy(tmp_path, monkeypatch, **options):
    """A vendor with TLS, and a proxy that knows its name, which nobody else does."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority_file(tmp_path)))
    certificate = tls.AUTHORITY.issue_cert("vendor.invalid")
    with tls.tls_server(certificate, BODY) as vendor, tls.proxy_server(**options) as proxy:
        yield f"https://vendor.invalid:{vendor.port}", proxy


def test_a_source_is_read_through_its_proxy(tmp_path, monkeypatch):
    with behind_proxy(tmp_path, monkeypatch, user="me:p@ss") as (url, proxy):
        own = client(base_url=url, proxy=f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        with closing(own):
            assert own.fetch(LIST).body == b'{"items": []}'
        assert proxy.asked == [f"CONNECT {url.removeprefix('https://')} HTTP/1.1"]
        assert b"api-0000" not in b"".join(proxy.heads)  # the key is for the vendor only


def test_a_source_without_tls_is_read_through_its_proxy(tmp_path):
    with tls.plain_server(BODY) as proxy:
        own = client(base_url="http://localhost:1", proxy=f"http://127.0.0.1:{proxy.port}")
        with closing(own):
            assert own.fetch(LIST).body == b'{"items": []}'
        assert proxy.asked == ["GET http://localhost:1/list HTTP/1.1"]


REFUSALS = ["403 Forbidden", "407 Proxy Authentication Required", "302 Found", "405 Not Allowed"]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_proxy_that_refuses_is_not_asked_again(refusal, tmp_path, monkeypatch):
    with behind_proxy(tmp_path, monkeypatch, refusal=refusal) as (url, proxy):
        own = client(base_url=url, proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
        error = failing(own, ConnectionFailed)
        assert len(proxy.asked) == 1
    assert error.exit_code == 1
    assert f"the proxy 127.0.0.1:{proxy.port} refused the connection" in str(error)
    assert refusal in str(error)
    assert "secret" not in str(error)


def test_a_proxy_that_cannot_reach_the_vendor_now_is_asked_again(tmp_path, monkeypatch):
    with behind_proxy(tmp_path, monkeypatch, refusal="502 Bad Gateway") as (url, proxy):
        own = client(base_url=url, proxy=f"http://127.0.0.1:{proxy.port}")
        error = failing(own, TransientError)
        assert len(proxy.asked) == RetryPolicy().attempts
    assert "502 Bad Gateway" in str(error)


def test_an_unknown_proxy_is_named():
    own = client(proxy="http://no-such-proxy.invalid:3128")
    error = failing(own, SourceError)
    assert "the proxy no-such-proxy.invalid:3128" in str(error)


NO_HTTP = {
    "of another version": b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "of another protocol": b"220 mail.example ESMTP\r\n\r\n",
    "with a status of six digits": b"HTTP/1.1 100000 OK\r\n\r\n",
    "with two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "with a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "with another transfer coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    "with a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
}


@pytest.mark.parametrize("said", NO_HTTP.values(), ids=NO_HTTP)
def test_an_answer_that_is_no_http_is_not_left_to_the_next_run(said):
    with tls.plain_server(said) as server:
        own = client(base_url=server.url)
        error = failing(own, ProtocolError)
    assert error.exit_code == 1
    assert own.traffic.requests == RetryPolicy().attempts
    assert f"the host 127.0.0.1:{server.port} does not answer as HTTP/1.1 asks for" in str(error)
    assert "Check scheme, host and port of base_url" in str(error)
    assert "bytearray" not in str(error)


@pytest.mark.parametrize("target", ["http://[::1/", "http://a.example/\x1b[31m", "https://:x/"])
def test_a_redirect_to_no_url_is_told(target):
    head = f"HTTP/1.1 307 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
    with tls.plain_server(head.encode()) as server:
        own = client(base_url=server.url)
        error = failing(own, ProtocolError)
    assert own.traffic.requests == 1
    assert "a redirect to no URL" in str(error)
