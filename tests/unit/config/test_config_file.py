"""What may stand in the configuration file, and what is said when something else does."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from etl.config.settings import LimitSettings, Settings, load, masked
from etl.errors import ConfigError

ENVIRON = {"KEY": "key-of-acme"}
SOURCE = '[sources.acme]\nprovider = "layers"\napi_key = { env = "KEY" }\n'


def loaded(folder: Path, text: str, environ: dict[str, str] = ENVIRON) -> Settings:
    file = folder / "etl.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ=environ)


def refused(folder: Path, text: str, environ: dict[str, str] = ENVIRON) -> str:
    """What is said about this file, which is called F here."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, environ)
    return str(caught.value).replace(str(folder / "etl.toml"), "F")


def test_a_mistake_in_the_configuration_exits_with_2():
    assert ConfigError.exit_code == 2


def test_a_source_needs_only_a_provider_and_a_key(tmp_path):
    source = loaded(tmp_path, SOURCE).sources["acme"]
    assert (source.base_url, source.schedule, source.timezone, source.limits) == (
        "https://api.layers.com",
        None,
        "UTC",
        LimitSettings(),
    )


def test_a_source_has_options_for_every_stream_of_its_provider(tmp_path):
    text = SOURCE.replace("layers", "launchdarkly")
    options = loaded(tmp_path, text).sources["acme"].options
    assert list(options) == ["projects", "environments", "layers"]


def test_options_of_a_stream_are_read(tmp_path):
    text = SOURCE + '[sources.acme.projects]\nstatus = "active"\npage_size = 7\n'
    options = loaded(tmp_path, text).sources["acme"].options["projects"]
    assert options.model_dump(exclude_defaults=True) == {"status": "active", "page_size": 7}


def test_the_largest_body_is_given_in_mebibytes(tmp_path):
    text = SOURCE + "[sources.acme.limits]\nmax_body_mb = 2\n"
    assert loaded(tmp_path, text).sources["acme"].limits.max_body == 2 * 1024 * 1024


def test_a_whole_number_is_a_number_of_seconds(tmp_path):
    text = SOURCE + "[sources.acme.limits]\npatience = 5\n"
    assert loaded(tmp_path, text).sources["acme"].limits.patience == 5.0


def test_a_file_with_a_byte_order_mark_and_windows_line_ends_is_read(tmp_path):
    text = "\ufeff" + SOURCE.replace("\n", "\r\n")
    assert list(loaded(tmp_path, text).sources) == ["acme"]


def test_a_file_without_sources_is_refused(tmp_path):
    assert refused(tmp_path, "") == "F: sources: there is none; add a table [sources.NAME]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[source.acme]\na = 1\n",
            "F:1: source: unknown table; did you mean sources?",
        ),
        (
            SOURCE + 'shedule = "* * * * *"\n',
            "F:4: sources.acme.shedule: unknown key; did you mean schedule?",
        ),
        (
            SOURCE + "[sources.acme.project]\na = 1\n",
            "F:4: sources.acme.project: unknown table; did you mean projects?",
        ),
        (
            SOURCE + "[sources.acme.projects]\npage_sise = 5\n",
            "F:5: sources.acme.projects.page_sise: unknown key; did you mean page_size?",
        ),
        (
            SOURCE + "limits.tries = 5\n",
            "F:4: sources.acme.limits.tries: unknown key; known here: concurrency, patience, "
            "attempts, timeout, max_body_mb, rate_limits, reserve_percent, delete_percent, "
            "delete_count, delete_confirmations, resume_within",
        ),
        (
            SOURCE + "[notices]\nurls = [{ vault = 'x' }]\n",
            "F:5: notices.urls[0].vault: unknown key; known here: env, file",
        ),
        (
            SOURCE + "[database]\n'two\twords' = 1\n",
            'F:5: database."two\\twords": unknown key; known here: url, file_mode, schema',
        ),
        (
            SOURCE + "[database]\nurl = { url = 'x' }\n",
            "F:5: database.url.url: unknown key; known here: env, file",
        ),
        (
            SOURCE + "[security]\nfingerprint_key = { vault = 'x' }\n",
            "F:5: security.fingerprint_key.vault: unknown key; known here: env, file",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_key_that_may_be_meant(tmp_path, text, said):
    assert refused(tmp_path, text) == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("schedule = 5", "schedule: expected text, found 5"),
        ("limits = 1", "limits: expected a table, found 1"),
        ("projects = [1]", "projects: expected a table, found a list"),
        (
            'projects.page_size = "10"',
            'projects.page_size: expected a whole number, found text "10"',
        ),
        ("projects.page_size = true", "projects.page_size: expected a whole number, found true"),
        ("projects.page_size = 1.5", "projects.page_size: expected a whole number, found 1.5"),
        ("projects.page_size = 0", "projects.page_size: expected 1 or more, found 0"),
        ("projects.page_size = 201", "projects.page_size: expected 200 or less, found 201"),
        (
            f"projects.page_size = 0x{'f' * 5000}",
            "projects.page_size: expected 200 or less, found a number of more than 64 bits",
        ),
        ("projects.search = 2026-01-01", "projects.search: expected text, found a date or time"),
        ("projects.search = {}", "projects.search: expected text, found a table"),
        (
            'projects.status = "activ"',
            "projects.status: expected 'active' or 'archived', found text \"activ\"; "
            "did you mean active?",
        ),
        (
            f'limits.patience = "{"x" * 41}"',
            f'limits.patience: expected a number, found text "{"x" * 40}…"',
        ),
        (
            'limits.patience = "a\\nb"',
            'limits.patience: expected a number, found text "a\\nb"',
        ),
        ("limits.patience = inf", "limits.patience: expected a finite number, found inf"),
        ("limits.timeout = 0", "limits.timeout: expected more than 0.0, found 0"),
    ],
)
def test_a_value_of_a_wrong_type_is_named_with_what_is_expected(tmp_path, line, said):
    assert refused(tmp_path, f"{SOURCE}{line}\n") == f"F:4: sources.acme.{said}"


def test_an_entry_of_a_list_is_named_by_its_place(tmp_path):
    text = SOURCE.replace("layers", "statsig") + 'layers.tags = ["core", 3]\n'
    assert refused(tmp_path, text) == ("F:4: sources.acme.layers.tags[1]: expected text, found 3")


@pytest.mark.parametrize(
    "lines",
    [
        'projects.search = """\n[ no table! ]\n"""',
        'projects.search = """\n[no.table],\n"""',
        "projects.search = '''\n= 5\n'''",
    ],
)
def test_a_line_of_a_text_is_not_taken_for_the_name_of_a_table(tmp_path, lines):
    message = refused(tmp_path, f"{SOURCE}{lines}\ntimezone = 3\n")
    assert message == "F:7: sources.acme.timezone: expected text, found 3"


@pytest.mark.parametrize(
    "header", ["[sources.two] # mine", "[ sources . two ]", '[sources."two"]', "[sources.'two']"]
)
def test_a_table_is_found_however_its_name_is_written(tmp_path, header):
    text = f'{SOURCE}{header}\n"provider"="layers"\n timezone = 3\n'
    assert refused(tmp_path, text) == "F:6: sources.two.timezone: expected text, found 3"


def test_a_switch_is_true_or_false(tmp_path):
    text = SOURCE.replace("layers", "launchdarkly") + "projects.environments = 1\n"
    assert refused(tmp_path, text) == (
        "F:4: sources.acme.projects.environments: expected true or false, found 1"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sources = 3", "F:1: sources: expected a table, found 3"),
        ("[sources]\nacme = 3", "F:2: sources.acme: expected a table, found 3"),
        ("[[sources.acme]]", "F:1: sources.acme: expected a table, found a list"),
        ("database = 1\n" + SOURCE, "F:1: database: expected a table, found 1"),
    ],
)
def test_a_value_where_a_table_should_be_is_refused(tmp_path, text, said):
    assert refused(tmp_path, text) == said


def test_a_source_is_not_taken_for_the_secret_of_the_same_name(tmp_path):
    text = SOURCE.replace("acme", "api_key") + "timezone = 3\n"
    assert refused(tmp_path, text) == "F:4: sources.api_key.timezone: expected text, found 3"


def test_a_name_of_a_source_is_plain(tmp_path):
    assert refused(tmp_path, SOURCE.replace("acme", '"a b"')) == (
        'F:1: sources."a b": a name of a source is 1 to 64 of the characters A-Z a-z 0-9 . _ -'
    )


def test_an_unknown_provider_is_named_with_the_providers_there_are(tmp_path):
    assert refused(tmp_path, SOURCE.replace("layers", "nix")) == (
        "F:2: sources.acme.provider: unknown; etl knows launchdarkly, statsig, layers"
    )


def test_a_misspelt_provider_is_named_with_the_one_that_may_be_meant(tmp_path):
    assert refused(tmp_path, SOURCE.replace("layers", "statsick")).endswith(
        "; did you mean statsig?"
    )


def test_the_rest_of_a_source_with_a_misspelt_provider_is_checked_too(tmp_path):
    text = SOURCE.replace("layers", "statsick") + "layers.page_size = 0\n"
    assert "F:4: sources.acme.layers.page_size: expected 1 or more" in refused(tmp_path, text)


@pytest.mark.parametrize("value", ["3", "[]", "{}"])
def test_a_provider_that_is_no_text_is_unknown(tmp_path, value):
    assert "provider: unknown; etl knows" in refused(tmp_path, SOURCE.replace('"layers"', value))


def test_a_source_without_a_provider_is_refused(tmp_path):
    assert refused(tmp_path, "[sources.acme]\n") == (
        "F:1: sources.acme.provider: missing; one of launchdarkly, statsig, layers"
    )


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path):
    text = "\n".join(
        [
            "[database]",
            'url = "mysql://host/name"',
            "[sources.one]",
            'provider = "layer"',
            'api_key = "the key itself"',
            'schedule = "61 * * * *"',
            "[sources.two]",
            'provider = "statsig"',
            'timezone = "Europa/Berlin"',
            "[sources.two.layers]",
            "tag = 1",
        ]
    )
    places = [line.split(": ")[:2] for line in refused(tmp_path, text).splitlines()]
    assert places == [
        ["F:2", "database.url"],
        ["F:4", "sources.one.provider"],
        ["F:5", "sources.one.api_key"],
        ["F:6", "sources.one.schedule"],
        ["F:9", "sources.two.timezone"],
        ["F:11", "sources.two.layers.tag"],
    ]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("* * * *", "expected 5 fields, minute hour day month weekday; found 4"),
        ("61 * * * *", 'the minute "61": the last value (61) is higher'),
        ("0 6 * * funday", 'the weekday "funday": expected 0-7'),
        ("0 6 30 2 *", '"0 6 30 2 *" never comes'),
        ("0 6\\n1 * 1", '"0 6 1 * 1" names days of the month and weekdays'),
    ],
)
def test_a_bad_schedule_is_refused_at_its_line(tmp_path, schedule, said):
    message = refused(tmp_path, f'{SOURCE}schedule = "{schedule}"\n')
    assert message.startswith("F:4: sources.acme.schedule: ")
    assert said in message


@pytest.mark.parametrize(
    "name", ["Europa/Berlin", "Europe", "", "..", "../UTC", "/etc/passwd", "x" * 300, "tzdata.zi"]
)
def test_a_name_that_is_no_time_zone_is_refused(tmp_path, name):
    assert refused(tmp_path, f'{SOURCE}timezone = "{name}"\n') == (
        f'F:4: sources.acme.timezone: no time zone is called {name!r}; write e.g. "Europe/Berlin"'
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://api.layers.com", "expected https://; http:// would send the key in the clear"),
        ("http://127.0.0.1.example.com", "expected https://; http:// would send"),
        ("http://192.168.0.1", "expected https://; http:// would send"),
        ("ftp://localhost", "expected https://; http:// would send"),
        (
            "https://api.layers.com/v1",
            'expected scheme and host only: etl adds paths such as "/v1"',
        ),
        ("https://me:pw@api.layers.com", "expected scheme and host only, no user"),
        ("https://api.layers.com?a=b", "expected scheme and host only, no user, no ?"),
        ("https://api.layers.com#a", "expected scheme and host only, no user, no ? and no #"),
        ("api.layers.com", "expected a URL such as https://"),
        ("https://", "expected a URL such as https://"),
        ("https://api.layers.com:99999", "expected a URL such as https://"),
        ("https://api.layers.com:0", "expected a URL such as https://"),
        ("https://api..layers.com", "expected a URL such as https://"),
        ("https://api.layers.com\\\\evil", "expected a URL such as https://"),
        ("https://api layers.com", "expected a URL such as https://"),
        ("https://api.la\\tyers.com", "expected a URL such as https://"),
        ("https://[::1", "expected a URL such as https://"),
    ],
)
def test_a_base_url_that_is_not_scheme_and_host_is_refused(tmp_path, url, said):
    message = refused(tmp_path, f'{SOURCE}base_url = "{url}"\n')
    assert message.startswith(f"F:4: sources.acme.base_url: {said}")


def test_the_password_in_a_base_url_is_not_repeated(tmp_path):
    text = f'{SOURCE}base_url = "https://me:hunter2@api.layers.com"\n'
    assert "hunter2" not in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://API.layers.com/", "https://api.layers.com"),
        ("HTTPS://api.layers.com:8443", "https://api.layers.com:8443"),
        ("https://api.layers.com:", "https://api.layers.com"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_base_url_is_scheme_and_host_and_http_stays_on_this_machine(tmp_path, url, taken):
    settings = loaded(tmp_path, f'{SOURCE}base_url = "{url}"\n')
    assert settings.sources["acme"].base_url == taken


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = ", "F:2: not valid TOML: Invalid value"),
        ("a = 1\nb = 2\na = 3\n", "F:3: not valid TOML: Cannot overwrite a value"),
        ("a = 1\n\nb 2\n", "F:3: not valid TOML: Expected '=' after a key"),
        ('a = "open\n', "F:1: not valid TOML: Illegal character"),
        (f"a = {'[' * 5000}", "F: not valid TOML: a number too long, or lists or tables too deep"),
        (f"a = {'9' * 5000}", "F: not valid TOML: a number too long, or lists or tables too deep"),
    ],
)
def test_a_file_that_is_no_toml_is_refused_with_its_line(tmp_path, text, said):
    assert refused(tmp_path, text).startswith(said)


def test_a_missing_file_is_refused_with_the_command_that_writes_one(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: no such file; `etl init` writes one$"):
        load(tmp_path / "none.toml", environ={})


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ConfigError, match=r": cannot be read: Is a directory$"):
        load(tmp_path, environ={})


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    file = tmp_path / "etl.toml"
    file.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r": not UTF-8 text$"):
        load(file, environ={})


def test_etl_config_names_the_file(tmp_path):
    file = tmp_path / "elsewhere.toml"
    file.write_text(SOURCE, encoding="utf-8")
    assert load(environ={**ENVIRON, "ETL_CONFIG": str(file)}).path == file


def test_a_file_that_is_asked_for_wins_over_etl_config(tmp_path):
    environ = {**ENVIRON, "ETL_CONFIG": str(tmp_path / "none.toml")}
    assert loaded(tmp_path, SOURCE, environ).path == tmp_path / "etl.toml"


@pytest.mark.parametrize("environ", [{}, {"ETL_CONFIG": ""}])
def test_without_etl_config_the_file_is_config_etl_toml(tmp_path, monkeypatch, environ):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^config/etl\.toml: no such file"):
        load(environ=environ)


def test_only_the_sources_asked_for_are_loaded(tmp_path):
    loaded(tmp_path, SOURCE + SOURCE.replace("acme", "other"))
    settings = load(tmp_path / "etl.toml", environ=ENVIRON, only=["other"])
    assert list(settings.sources) == ["other"]


def test_an_unknown_source_that_is_asked_for_is_named_with_the_sources_there_are(tmp_path):
    loaded(tmp_path, SOURCE + SOURCE.replace("acme", "other"))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "etl.toml", environ=ENVIRON, only=["acne"])
    assert str(caught.value).endswith(
        "etl.toml: no source acne; did you mean acme?; the file has acme, other"
    )


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("sqlite:///data/etl.db", "sqlite:///data/etl.db"),
        ("sqlite:////var/etl.db", "sqlite:////var/etl.db"),
        ("postgresql://etl@localhost/etl", "postgresql+psycopg://etl@localhost/etl"),
        ("postgres://etl@localhost/etl", "postgresql+psycopg://etl@localhost/etl"),
        ("postgresql+psycopg:///etl", "postgresql+psycopg:///etl"),
    ],
)
def test_a_database_url_is_taken_as_the_engine_takes_it(tmp_path, url, taken):
    assert loaded(tmp_path, f'database.url = "{url}"\n{SOURCE}').database_url == taken


@pytest.mark.parametrize(
    "url",
    ["", "data/etl.db", "sqlite://", "sqlite:///", "postgresql://", "mysql://me:pw@host/name"],
)
def test_another_kind_of_database_is_refused_without_repeating_it(tmp_path, url):
    assert refused(tmp_path, f'database.url = "{url}"\n{SOURCE}') == (
        "F:1: database.url: expected sqlite:///path/to/file.db or postgresql://user@host/name"
    )


def test_etl_database_url_wins_over_the_file(tmp_path):
    environ = {**ENVIRON, "ETL_DATABASE_URL": " postgres://me:pw@host/name\n"}
    text = f'database.url = "sqlite:///a.db"\n{SOURCE}'
    assert loaded(tmp_path, text, environ).database_url == "postgresql+psycopg://me:pw@host/name"


def test_an_empty_etl_database_url_says_nothing(tmp_path):
    settings = loaded(tmp_path, SOURCE, {**ENVIRON, "ETL_DATABASE_URL": ""})
    assert settings.database_url == "sqlite:///data/etl.db"


def test_a_bad_etl_database_url_is_refused_without_repeating_it(tmp_path):
    assert refused(tmp_path, SOURCE, {**ENVIRON, "ETL_DATABASE_URL": "mysql://me:pw@host/x"}) == (
        "the environment variable ETL_DATABASE_URL: "
        "expected sqlite:///path/to/file.db or postgresql://user@host/name"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://me:pw@host/name", "postgresql+psycopg://me:***@host/name"),
        ("postgresql+psycopg://me:p@w/:x@host/name", "postgresql+psycopg://me:***@host/name"),
        ("postgresql+psycopg://:pw@host/name", "postgresql+psycopg://:***@host/name"),
        (
            "postgresql+psycopg:///name?password=pw&a=b",
            "postgresql+psycopg:///name?***",
        ),
        (
            "postgresql+psycopg:///name?a=b&sslpassword=pw",
            "postgresql+psycopg:///name?***",
        ),
        ("postgresql+psycopg://me@host:5432/name", "postgresql+psycopg://me@host:5432/name"),
        ("sqlite:///data/etl.db", "sqlite:///data/etl.db"),
    ],
)
def test_a_database_url_is_shown_without_its_password(url, shown):
    assert masked(url) == shown


def test_settings_are_shown_without_the_password_of_the_database(tmp_path):
    environ = {**ENVIRON, "ETL_DATABASE_URL": "postgresql://me:hunter2@host/name"}
    assert "hunter2" not in repr(loaded(tmp_path, SOURCE, environ))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///a.db?mode=ro", "without parameters"),
        ("sqlite:///a?b.db", "%3F"),
        ("sqlite:///100%.db", "%25"),
        ("sqlite:///~nobody-at-all/a.db", "no such home"),
        ("postgresql://me@host:five/db", "expected postgresql://user@host"),
        ("postgresql://me@host:99999/db", "from 1 to 65535"),
        ("postgresql://me@host:0/db", "from 1 to 65535"),
        ("postgresql://me@[::1/db", "expected postgresql://user@host"),
        ("postgresql://me@::1/db", "expected postgresql://user@host"),
        ("postgresql://me@h1:1,h2:x/db", "expected postgresql://user@host"),
        ("postgresql://me@host/db?colour=red", "colour"),
    ],
)
def test_a_database_url_that_means_something_else_is_refused_with_the_reason(tmp_path, url, said):
    for text, environ in (
        (f'database.url = "{url}"\n{SOURCE}', {}),
        (SOURCE, {"ETL_DATABASE_URL": url}),
    ):
        told = refused(tmp_path, text, {**ENVIRON, **environ})
        assert said in told
        assert "\n" not in told


def test_several_hosts_are_those_of_libpq(tmp_path):
    url = "postgresql://me@h1:1,[::1]:2,h3/db?target_session_attrs=read-write"
    taken = make_url(loaded(tmp_path, f'database.url = "{url}"\n{SOURCE}').database_url)
    _, options = taken.get_dialect()().create_connect_args(taken)
    assert (options["host"], options["port"]) == ("h1,::1,h3", "1,2,")
    assert options["target_session_attrs"] == "read-write"


def test_a_home_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/50%?")
    taken = make_url(
        loaded(tmp_path, f'database.url = "sqlite:///~/etl.db"\n{SOURCE}').database_url
    )
    assert taken.database == "/home/50%?/etl.db"


@pytest.mark.parametrize("name", ["etl", "Etl Data", "ätl"])
def test_a_schema_of_postgres_has_a_name(tmp_path, name):
    assert loaded(tmp_path, f'database.schema = "{name}"\n{SOURCE}').database_schema == name


@pytest.mark.parametrize("name", ["", "pg_etl", "x" * 64, "a\\nb"])
def test_a_name_that_no_schema_has_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"database\.schema"):
        loaded(tmp_path, f'database.schema = "{name}"\n{SOURCE}')


@pytest.mark.parametrize("text", ["a = 'x'\n" * 200_000, "\0" * 2_000_000])
def test_a_file_that_is_no_configuration_is_not_read_to_its_end(tmp_path, text):
    said = "F: larger than a configuration may be (1,048,576 bytes)"
    assert refused(tmp_path, text) == said


@pytest.mark.parametrize("text", [f"[{'.'.join('a' * 5000)}]", f"{'.'.join('a' * 5000)} = 1"])
def test_tables_too_deep_are_refused(tmp_path, text):
    assert "lists or tables too deep" in refused(tmp_path, text)
