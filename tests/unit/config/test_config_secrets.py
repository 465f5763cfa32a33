"""Where secrets are found, and what is said when one is not: never its value."""

from pathlib import Path

import pytest

from etl.config.settings import Settings, load
from etl.errors import ConfigError

SOURCE = '[sources.acme]\nprovider = "layers"\napi_key = { env = "KEY" }\n'
IN_A_FILE = SOURCE.replace('env = "KEY"', 'file = "acme.key"')
FORM = '{ env = "NAME" } or { file = "path" }'


def loaded(folder: Path, text: str, environ: dict[str, str]) -> Settings:
    file = folder / "etl.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ=environ)


def refused(folder: Path, text: str, environ: dict[str, str]) -> str:
    """What is said about this file, which is called F here, in the folder D."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, environ)
    return str(caught.value).replace(str(folder / "etl.toml"), "F").replace(str(folder), "D")


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "acme.key"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def key_of(settings: Settings) -> str:
    return settings.sources["acme"].api_key.get_secret_value()


def test_a_secret_comes_from_the_environment_without_blanks_around_it(tmp_path):
    assert key_of(loaded(tmp_path, SOURCE, {"KEY": " s3cret\n"})) == "s3cret"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_comes_from_a_file_that_only_its_owner_may_read(tmp_path, mode):
    key_file(tmp_path, "s3cret\n", mode)
    assert key_of(loaded(tmp_path, IN_A_FILE, {})) == "s3cret"


def test_a_secret_file_may_stand_anywhere(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file = key_file(folder, "s3cret")
    text = IN_A_FILE.replace("acme.key", str(file))
    assert key_of(loaded(tmp_path, text, {})) == "s3cret"


def test_a_missing_variable_is_named(tmp_path):
    assert refused(tmp_path, SOURCE, {}) == (
        "F:3: sources.acme.api_key: the environment variable KEY is not set; "
        "export it, or name another"
    )


@pytest.mark.parametrize("value", ["", " \n"])
def test_an_empty_variable_is_named(tmp_path, value):
    assert refused(tmp_path, SOURCE, {"KEY": value}) == (
        "F:3: sources.acme.api_key: the environment variable KEY is empty"
    )


@pytest.mark.parametrize("value", ["s3cret s3cret", "s3cret\nX-Header: s3cret", "s3crét", "s3\x00"])
def test_a_secret_that_no_header_can_hold_is_refused_without_its_value(tmp_path, value):
    assert refused(tmp_path, SOURCE, {"KEY": value}) == (
        "F:3: sources.acme.api_key: the environment variable KEY holds a blank, "
        "a line break or a letter that no key has"
    )


@pytest.mark.parametrize("value", ['"s3cret"', "'s3cret'", '"s3cret', "\u201cs3cret\u201d"])
def test_quotes_that_an_env_file_kept_are_refused_without_the_value(tmp_path, value):
    assert refused(tmp_path, SOURCE, {"KEY": value}) == (
        "F:3: sources.acme.api_key: the environment variable KEY begins or ends with a quotation "
        "mark: write the secret without quotes around it"
    )


@pytest.mark.parametrize("value", ["API_KEY=s3cret", "export API_KEY=s3cret"])
def test_an_assignment_is_no_key(tmp_path, value):
    key_file(tmp_path, value)
    assert refused(tmp_path, IN_A_FILE, {}) == (
        "F:3: sources.acme.api_key: the file D/acme.key holds NAME=value: write the value alone"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path, encoding):
    key_file(tmp_path, "").write_bytes("s3cret\r\n".encode(encoding))
    assert key_of(loaded(tmp_path, IN_A_FILE, {})) == "s3cret"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_key_in_utf_16_without_a_mark_is_refused(tmp_path, encoding):
    key_file(tmp_path, "").write_bytes("s3cret".encode(encoding))
    assert "a letter that no key has" in refused(tmp_path, IN_A_FILE, {})


PROXY = 'proxy = "{}"\n'


@pytest.mark.parametrize("url", ["http://proxy:3128", "https://proxy.example", "proxy:3128"])
def test_a_proxy_without_a_password_stands_in_the_file(tmp_path, url):
    settings = loaded(tmp_path, SOURCE + PROXY.format(url), {"KEY": "k", "HTTPS_PROXY": "x"})
    source = settings.sources["acme"]
    assert source.proxy is not None
    assert source.proxy.get_secret_value().endswith(url)
    assert source.ignored_proxies == ()


@pytest.mark.parametrize("url", ["http://me:hunter77@proxy:3128", "http://hunter77@proxy"])
def test_a_proxy_with_a_password_in_the_file_is_refused_without_it(tmp_path, url):
    assert refused(tmp_path, SOURCE + PROXY.format(url), {"KEY": "k"}) == (
        "F:4: sources.acme.proxy: a proxy with a user or a password is a secret; "
        f"write proxy = {FORM}"
    )


@pytest.mark.parametrize(
    "value", ["53", "true", '["hunter77"]', "{ env = 53 }", "{}", '{ x = "s" }']
)
def test_a_proxy_of_another_type_is_refused_with_the_form(tmp_path, value):
    assert refused(tmp_path, f"{SOURCE}proxy = {value}\n", {"KEY": "k"}).startswith(
        'F:4: sources.acme.proxy: write proxy = "http://host:port", or { env = "NAME" }'
    )


@pytest.mark.parametrize("url", ["", "ftp://proxy", "http://", "socks5://proxy", "http://p:x"])
def test_what_is_no_url_of_a_proxy_is_refused(tmp_path, url):
    message = refused(tmp_path, SOURCE + PROXY.format(url), {"KEY": "k"})
    assert message.startswith("F:4: sources.acme.proxy: expected ")


def test_a_proxy_with_a_password_is_in_the_environment(tmp_path):
    text = SOURCE + 'proxy = { env = "PROXY" }\n'
    settings = loaded(tmp_path, text, {"KEY": "k", "PROXY": "http://me:p%40ss@proxy:3128"})
    proxy = settings.sources["acme"].proxy
    assert proxy is not None
    assert proxy.get_secret_value() == "http://me:p%40ss@proxy:3128"
    assert "p%40ss" not in repr(settings)


@pytest.mark.parametrize("value", ["http://me:hunt/er77@proxy", "ftp://me:hunter77@proxy"])
def test_a_secret_that_is_no_proxy_is_refused_without_its_value(tmp_path, value):
    text = SOURCE + 'proxy = { env = "PROXY" }\n'
    message = refused(tmp_path, text, {"KEY": "k", "PROXY": value})
    assert message.startswith("F:4: sources.acme.proxy: expected ")
    assert "er77" not in message


def test_proxies_of_the_environment_are_known_where_none_is_set(tmp_path):
    settings = loaded(tmp_path, SOURCE, {"KEY": "k", "HTTPS_PROXY": "http://p", "NO_PROXY": "*"})
    assert settings.sources["acme"].ignored_proxies == ("HTTPS_PROXY",)


def test_a_source_without_a_secret_is_told_what_to_write(tmp_path):
    assert refused(tmp_path, '[sources.acme]\nprovider = "layers"\n', {}) == (
        "F:1: sources.acme.api_key: missing; "
        'write api_key = { env = "LAYERS_API_KEY" } or { file = "path" }'
    )


@pytest.mark.parametrize(
    "value",
    [
        '"s3cret"',
        "53",
        '["s3cret"]',
        "{}",
        '{ env = "A", file = "b" }',
        "{ env = 53 }",
        '{ env = "s3-cret" }',
        '{ file = "" }',
    ],
)
def test_a_secret_in_the_file_itself_is_refused_without_its_value(tmp_path, value):
    message = refused(tmp_path, SOURCE.replace('{ env = "KEY" }', value), {})
    assert message.endswith(f": write api_key = {FORM}, never the secret itself")


def test_a_secret_written_as_the_name_of_a_variable_is_not_repeated(tmp_path):
    assert refused(tmp_path, SOURCE.replace("KEY", "s3cret"), {}) == (
        "F:3: sources.acme.api_key: that environment variable is not set; "
        "export it, or name another"
    )


def test_a_secret_under_a_misspelt_key_is_not_repeated(tmp_path):
    assert refused(tmp_path, SOURCE + 'api_kye = "s3cret"\n', {"KEY": "k"}) == (
        "F:4: sources.acme.api_kye: unknown key; did you mean api_key?"
    )


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o777])
def test_a_secret_file_that_others_may_read_is_refused_with_the_command_that_helps(tmp_path, mode):
    key_file(tmp_path, "s3cret", mode)
    assert refused(tmp_path, IN_A_FILE, {}) == (
        f"F:3: sources.acme.api_key: others may read the file D/acme.key (mode {mode:04o}); "
        "run: chmod 600 D/acme.key"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.key", "cannot read the file D/none.key: No such file or directory"),
        ("etl.toml/acme.key", "cannot read the file F/acme.key: Not a directory"),
        (".", "D is not a file"),
        ("~nobody-of-that-name/a", "the file ~nobody-of-that-name/a: there is no such home"),
        ("a\\u0000b", "the name of the file holds a character that no name has"),
    ],
)
def test_a_secret_file_that_cannot_be_read_is_named_with_the_reason(tmp_path, name, said):
    message = refused(tmp_path, IN_A_FILE.replace("acme.key", name), {})
    assert message == f"F:3: sources.acme.api_key: {said}"


def test_an_empty_secret_file_is_named(tmp_path):
    key_file(tmp_path, "\n")
    assert refused(tmp_path, IN_A_FILE, {}) == (
        "F:3: sources.acme.api_key: the file D/acme.key is empty"
    )


def test_a_secret_file_that_is_not_text_is_named(tmp_path):
    key_file(tmp_path, "").write_bytes(b"\xff\xfe")
    assert refused(tmp_path, IN_A_FILE, {}) == (
        "F:3: sources.acme.api_key: the file D/acme.key is not text"
    )


def test_every_missing_secret_is_reported_at_once(tmp_path):
    text = SOURCE + SOURCE.replace("acme", "other").replace("KEY", "OTHER")
    assert [line.split(": ")[:2] for line in refused(tmp_path, text, {}).splitlines()] == [
        ["F:3", "sources.acme.api_key"],
        ["F:6", "sources.other.api_key"],
    ]


def test_the_secret_of_a_source_that_is_not_asked_for_may_be_missing(tmp_path):
    file = tmp_path / "etl.toml"
    file.write_text(SOURCE + SOURCE.replace("acme", "other").replace("KEY", "OTHER"))
    assert list(load(file, environ={"KEY": "k"}, only=["acme"]).sources) == ["acme"]


def test_no_secret_is_looked_for_when_none_is_wanted(tmp_path):
    file = tmp_path / "etl.toml"
    file.write_text(SOURCE + '[security]\nfingerprint_key = { env = "FINGERPRINT" }\n')
    assert key_of(load(file, environ={}, secrets=False)) == ""


def test_the_fingerprint_key_has_a_default(tmp_path):
    settings = loaded(tmp_path, SOURCE, {"KEY": "k"})
    assert settings.fingerprint_key.get_secret_value() == "etl/fingerprint/1"


def test_the_fingerprint_key_may_be_an_own_one(tmp_path):
    text = SOURCE + '[security]\nfingerprint_key = { env = "FINGERPRINT" }\n'
    settings = loaded(tmp_path, text, {"KEY": "k", "FINGERPRINT": "own"})
    assert settings.fingerprint_key.get_secret_value() == "own"


def test_a_missing_fingerprint_key_is_reported_at_its_line(tmp_path):
    text = SOURCE + '[security]\nfingerprint_key = { env = "FINGERPRINT" }\n'
    assert refused(tmp_path, text, {"KEY": "k"}).startswith(
        "F:5: security.fingerprint_key: the environment variable FINGERPRINT is not set"
    )


def test_a_fingerprint_key_in_the_file_itself_is_refused_without_its_value(tmp_path):
    text = SOURCE + '[security]\nfingerprint_key = "s3cret"\n'
    assert refused(tmp_path, text, {"KEY": "k"}) == (
        f"F:5: security.fingerprint_key: write fingerprint_key = {FORM}, never the secret itself"
    )


def test_a_file_that_is_no_secret_is_not_read_to_its_end(tmp_path):
    key_file(tmp_path, "x" * 100_000)
    assert refused(tmp_path, IN_A_FILE, {}) == (
        "F:3: sources.acme.api_key: the file D/acme.key is larger than a secret may be "
        "(65,536 bytes)"
    )
