"""The example and the JSON Schema hold what the code reads: all of it, and nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from etl.config.file import LimitsTable, source_table
from etl.config.settings import LimitSettings, Settings, example, json_schema, load
from etl.providers import PROVIDERS

CONFIG = Path(__file__).parents[3] / "config"
ENVIRON = {
    "LAUNCHDARKLY_API_KEY": "one",
    "STATSIG_API_KEY": "two",
    "LAYERS_API_KEY": "three",
    "ETL_FINGERPRINT_KEY": "four",
    "ETL_NOTICES_URL": "five",
}
WRITE_SCHEMA = (
    'python -c "import json; from etl.config.settings import json_schema; '
    'print(json.dumps(json_schema(), indent=2))" > config/etl.schema.json'
)
OPTION = re.compile(r"# (\w+) = ")
LINES = example().splitlines()
OPTIONS = [number for number, line in enumerate(LINES) if OPTION.match(line)]


def without_comment(numbers: list[int]) -> str:
    """The example with these options set, each instead of the one of its name in its table."""
    lines = list(LINES)
    for number in numbers:
        lines[number] = LINES[number].removeprefix("# ")
        name = lines[number].partition(" = ")[0]
        start = max(at for at in range(number) if LINES[at].startswith("["))
        for at in range(start, number):
            if lines[at].startswith(f"{name} = "):
                lines[at] = ""
    return "\n".join(lines)


def loaded(folder: Path, text: str) -> Settings:
    file = folder / "etl.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ=ENVIRON)


def test_the_schema_in_config_is_the_schema_of_the_code():
    written = json.loads((CONFIG / "etl.schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(json_schema())), f"write it anew: {WRITE_SCHEMA}"


def test_the_schema_knows_neither_null_nor_names_of_classes():
    text = json.dumps(json_schema())
    assert not re.search(r'"null"|: null|"title": "(?!etl configuration)', text)


def test_the_configuration_in_config_is_the_example():
    assert (CONFIG / "etl.toml").read_text(encoding="utf-8") == example()


def test_the_example_loads_with_a_key_for_every_provider(tmp_path):
    sources = loaded(tmp_path, example()).sources
    assert {source.provider for source in sources.values()} == set(PROVIDERS)


def test_the_example_has_commented_options():
    assert len(OPTIONS) > 20


@pytest.mark.parametrize("number", OPTIONS, ids=lambda number: f"line {number + 1}")
def test_every_commented_option_of_the_example_can_be_set(tmp_path, number):
    loaded(tmp_path, without_comment([number]))


def test_all_commented_options_of_the_example_can_be_set_together(tmp_path):
    settings = loaded(tmp_path, without_comment(OPTIONS))
    assert settings.database_url == "postgresql+psycopg://etl@localhost/etl"


def test_the_commented_limits_of_the_example_are_the_defaults_but_for_the_windows(tmp_path):
    limits = loaded(tmp_path, without_comment(OPTIONS)).sources["acme-launchdarkly"].limits
    assert limits == LimitSettings(concurrency=4, rate_limits=("100/10s", "900/15min"))


def test_the_commented_limits_of_the_example_are_all_limits():
    start = LINES.index("[sources.acme-launchdarkly.limits]") + 1
    named = [match[1] for line in LINES[start:] if (match := OPTION.match(line))]
    assert named[: len(LimitsTable.model_fields)] == list(LimitsTable.model_fields)


@pytest.mark.parametrize(
    "option",
    [
        (provider.name, stream.name, option)
        for provider in PROVIDERS.values()
        for stream in provider.streams
        for option in stream.options.model_fields
    ],
    ids=".".join,
)
def test_every_option_of_every_stream_stands_in_the_example(option):
    provider, stream, name = option
    start = LINES.index(f"[sources.acme-{provider}.{stream}]") + 1
    end = next((at for at in range(start, len(LINES)) if LINES[at].startswith("[")), len(LINES))
    assert any(line.startswith((f"{name} = ", f"# {name} = ")) for line in LINES[start:end])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_stream_is_called_like_a_key_of_its_source(provider):
    assert len(source_table(provider).model_fields) == 8 + len(PROVIDERS[provider].streams)


@pytest.mark.parametrize(("schedule", "imported"), [("", False), ('schedule = "5 * * * *"', True)])
def test_the_scheduler_is_imported_only_when_there_is_a_schedule(tmp_path, schedule, imported):
    file = tmp_path / "etl.toml"
    file.write_text(f'[sources.acme]\nprovider = "layers"\n{schedule}\n', encoding="utf-8")
    program = (
        "import sys, pathlib; from etl.config.settings import load; "
        "load(pathlib.Path(sys.argv[1]), environ={}, secrets=False); "
        "print('apscheduler' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        check=True,
        capture_output=True,
        text=True,
        cwd=CONFIG.parent,
    )
    assert shown.stdout == f"{imported}\n"
