"""Whatever stands in the configuration: an error is a ConfigError, and no secret is shown."""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from etl.config.file import database_url
from etl.config.settings import Settings, load, masked
from etl.errors import ConfigError

SOURCE = '[sources.acme]\nprovider = "layers"\napi_key = { env = "KEY" }\n'
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
QUOTED_OR_NAMED = re.compile(r"""['"`]|.*['"`]$|(export\s+)?[A-Za-z_]\w*=[^=]""")
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).filter(
    lambda text: not QUOTED_OR_NAMED.match(text)  # which etl refuses
)


def loaded(text: str, environ: Mapping[str, str]) -> Settings | ConfigError:
    """The settings of this file or the error about it, the file always being of one name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "etl.toml"
        file.write_text(text, encoding="utf-8")
        try:
            return load(file, environ=environ)
        except ConfigError as error:
            return ConfigError(str(error).replace(folder, "FOLDER"))


def toml_text(text: str) -> str:
    """A string of TOML, which has no surrogates for what is beyond 16 bits, and no plain DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def with_key(value: str) -> str:
    return SOURCE.replace('{ env = "KEY" }', value)


@given(TEXT)
def test_the_error_is_the_same_whatever_text_stands_as_the_key(secret):
    said = str(loaded(with_key(toml_text(secret)), {}))
    assert said == str(loaded(with_key('"another"'), {}))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")))
@example('" and "')
@example("\\x")
@example("\x00")
def test_a_key_that_is_not_even_toml_is_not_repeated(text):
    assert "s3cret" not in str(loaded(with_key(f'"s3cret{text}s3cret"'), {}))


@given(TEXT)
def test_settings_are_shown_the_same_whatever_the_secrets_are(secret):
    text = SOURCE + '[security]\nfingerprint_key = { env = "KEY" }\n'
    with_this, with_another = (loaded(text, {"KEY": key}) for key in (secret, "another"))
    assert isinstance(with_this, ConfigError) or shown(with_this) == shown(with_another)


def shown(settings: Settings | ConfigError) -> str:
    """What repr shows, but the folder of the file."""
    assert isinstance(settings, Settings)
    return repr(settings).replace(str(settings.path), "")


@given(TEXT.filter(lambda text: not text.strip().isascii() or not text.strip().isprintable()))
def test_the_error_is_the_same_whatever_the_refused_secret_is(secret):
    said = str(loaded(SOURCE, {"KEY": secret}))
    faults = ("", "'s3cret'", "NAME=s3cret", "s3cret s3cret")
    assert said in {str(loaded(SOURCE, {"KEY": fault})) for fault in faults}


@given(SECRETS)
@example("!#$%&()*+,-./:;<=>?@[]^_{|}~")
@example("a'b")
@example("=NAME")
@example("c2VjcmV0cw=")
@example("c2VjcmV0cw==")
def test_a_printable_secret_arrives_as_it_is(secret):
    settings = loaded(SOURCE, {"KEY": f" {secret}\n"})
    assert isinstance(settings, Settings)
    assert settings.sources["acme"].api_key.get_secret_value() == secret


@given(st.from_regex(r"[a-z]{6}[A-Za-z0-9]{0,30}", fullmatch=True))
def test_a_database_password_is_never_shown(password):
    url = database_url(f"postgresql://ETL:{password}@HOST/NAME")
    assert masked(url) == "postgresql+psycopg://ETL:***@HOST/NAME"


@given(TEXT)
def test_any_text_is_settings_or_a_config_error(text):
    assert isinstance(loaded(text, {}), ConfigError)


@given(
    st.sampled_from(["base_url", "schedule", "timezone", "provider", "limits", "projects.status"]),
    TEXT,
)
def test_any_value_is_settings_or_one_line_that_names_its_key(key, value):
    values = {"provider": '"layers"', "api_key": '{ env = "KEY" }', key: toml_text(value)}
    lines = [f"{name} = {written}" for name, written in values.items()]
    found = loaded("\n".join(["[sources.acme]", *lines]), {"KEY": "k"})
    assert isinstance(found, Settings) or f": sources.acme.{key}: " in str(found)
