"""The file of a plan: one JSON document, one change per line, refused when it was edited."""

import gzip
import json
from collections.abc import Callable
from io import BytesIO

import pytest

from etl import __version__
from etl.errors import ConfigError
from etl.operations.plan_document import MAX_LINE, SourcePlan, write_plans
from tests.support.planning import change, file_of, lines_of, plan_of, read

BOTH = pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])


def two() -> list[SourcePlan]:
    """Of two sources, the second one without changes."""
    deleted = change(3, operation="deleted", raw=None, fields=(), reason="it answers 404")
    return [plan_of(change(1), change(2), deleted), plan_of(source="other")]


@BOTH
def test_a_plan_is_the_same_after_its_file(packed: bool) -> None:
    plans = two()
    found = read(file_of(plans, packed=packed))
    assert [(list(one.changes), one.rejects) for one in found] == [
        (list(one.changes), one.rejects) for one in plans
    ]
    assert lines_of(*found) == lines_of(*plans)
    assert found[0].changes.counts == {"updated": 2, "deleted": 1}


def test_changes_beyond_what_is_kept_in_memory_are_the_same_too() -> None:
    text = "long" * 100_000
    (found,) = read(file_of([plan_of(*(change(n, raw={"text": text}) for n in range(9)))]))
    assert [one.row_id for one in found.changes] == list(range(9))
    assert {one.raw["text"] for one in found.changes} == {text}
    assert [len(batch) for batch in found.changes.batches()] == [2, 2, 2, 2, 1]


def test_the_file_is_one_json_document_with_a_line_for_each_change() -> None:
    lines = lines_of(*two())
    document = json.loads(b"".join(lines))
    assert list(document) == ["format", "version", "etl_version", "sources", "checksum"]
    assert [one["source"] for one in document["sources"]] == ["ly", "other"]
    assert [one["key"] for one in document["sources"][0]["changes"]] == [
        "prj_p1",
        "prj_p2",
        "prj_p3",
    ]
    assert lines[2].startswith(b'{"stream": "projects", "operation": "updated", ')
    assert b'"fields": [{"path": "name", "old": "Bridge", "new": "Br\xc3\xbccke"}]' in lines[2]
    assert b"checksum" in lines[-1]


def test_a_plan_without_sources_has_a_file_too() -> None:
    assert read(file_of([])) == []


@BOTH
def test_a_file_that_is_cut_behind_any_line_is_refused(packed: bool) -> None:
    lines = lines_of(*two())
    for number in range(len(lines)):
        with pytest.raises(ConfigError, match=r"ends too early|is not a plan"):
            read(lines[:number], packed=packed)


def test_a_file_that_is_cut_within_a_line_is_refused() -> None:
    content = file_of(two())
    for number in range(0, len(content), 7):
        with pytest.raises(ConfigError, match=r"ends too early|is not a plan"):
            read(content[:number])


def test_a_gzipped_file_that_is_cut_is_refused() -> None:
    content = file_of(two(), packed=True)
    for number in range(len(content)):
        with pytest.raises(ConfigError, match=r"edited or damaged|is not a plan"):
            read(content[:number])


@BOTH
def test_a_line_that_is_left_out_or_twice_there_is_seen(packed: bool) -> None:
    lines = lines_of(*two())
    for number in range(len(lines)):
        for times in (0, 2):
            edited = [*lines[:number], *[lines[number]] * times, *lines[number + 1 :]]
            with pytest.raises(ConfigError, match=r"edited or damaged|is not a plan"):
                read(edited, packed=packed)


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "a value": lambda text: text.replace(b'"version": 1,', b'"version": 2,'),
    "a blank": lambda text: text.replace(b'", "operation"', b'",  "operation"', 1),
    "the checksum": lambda text: text.replace(b"sha256:", b"sha256:0"),
    "line ends": lambda text: text.replace(b"\n", b"\r\n"),
    "another source": lambda text: text.replace(b'"source": "other"', b'"source": "third"', 1),
    "a reject": lambda text: text.replace(b"Field required", b"Field optional"),
    "something behind its end": lambda text: text + b"{}\n",
    "a byte that is no text": lambda text: text.replace(b"Bridge", b"Bri\xffdge", 1),
    "a change of another shape": lambda text: text.replace(b'"row_id": 1', b'"row_id": "one"', 1),
    "an operation less": lambda text: text.replace(b'"operation": "updated", ', b"", 1),
    "deep lists": lambda text: text.replace(b'"sum": 1', b'"sum": ' + b"[" * 10**6, 1),
    "a source of another shape": lambda text: text.replace(b'"provider": ', b'"vendor": ', 1),
}


@BOTH
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_file_is_refused(edit: Callable[[bytes], bytes], packed: bool) -> None:
    content = file_of(two())
    edited = edit(content)
    assert edited != content
    with pytest.raises(ConfigError, match=r"edited or damaged: .*; make a new one with `etl plan"):
        read(edited, packed=packed)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"version": 1}, f"format 1; this is etl {__version__}, format 2: make a"),
        ({"version": 9}, f"made by etl {__version__}, format 9"),
        ({"version": 1, "etl_version": "0.0.1"}, "made by etl 0.0.1, format 1"),
        ({"version": 2, "etl_version": "0.0.1"}, "made by etl 0.0.1, format 2"),
        ({"format": "soup"}, "is not a plan"),
    ],
)
def test_a_file_of_another_format_or_etl_is_refused(
    said: dict[str, object], why: str, indent: int | None
) -> None:
    head = {"format": "etl plan", "version": 1, "etl_version": __version__}
    document = {**head, **said, "sources": [], "checksum": "sha256:0"}
    with pytest.raises(ConfigError, match=why):
        read(json.dumps(document, indent=indent).encode())


@BOTH
@pytest.mark.parametrize("version", [1, 9])
def test_a_file_of_lines_of_another_version_is_refused(version: int, packed: bool) -> None:
    content = file_of(two()).replace(b'"version": 2', b'"version": %d' % version, 1)
    with pytest.raises(ConfigError, match=f"was made by etl {__version__}, format {version};"):
        read(content, packed=packed)


BOMBS = {
    "zeros": bytes(10**8),
    "a first line of blanks": b" " * 10**8,
    "a change": b"".join(lines_of(plan_of())[:2]) + b'{"raw": "' + b"a" * 10**8,
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_a_file_of_endless_lines_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"is not a plan|line 3 is too long"):
        read(content, packed=True)


def test_a_change_that_a_file_could_not_hold_is_an_error_when_it_is_written() -> None:
    one = plan_of(change(raw="a" * MAX_LINE))
    with pytest.raises(ConfigError, match="larger than its file may be"):
        write_plans(BytesIO(), [one], __version__, packed=False)


def test_the_same_plan_makes_the_same_bytes() -> None:
    assert file_of(two(), packed=True) == file_of(two(), packed=True)
    assert gzip.decompress(file_of(two(), packed=True)) == file_of(two())


def test_a_change_of_a_stream_that_was_not_planned_is_refused() -> None:
    with pytest.raises(ConfigError, match="line 3 is of a stream that was not planned"):
        read(lines_of(plan_of(change(stream="layers"))))
