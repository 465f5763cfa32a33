"""What an audit tells of the violations it finds."""

from etl.audit.findings import MAX_EXAMPLES, Violation, finding


def violation(number: int, *, harmless: bool = False) -> Violation:
    return Violation(where=f"row {number}", what="odd", harmless=harmless)


def test_a_check_without_violations_is_ok():
    found = finding("name", "promise", "remedy", iter(()))
    assert (found.ok, found.count, found.examples) == (True, 0, ())


def test_all_violations_are_counted_and_the_first_few_are_shown():
    found = finding("name", "promise", "remedy", (violation(n) for n in range(1000)))
    assert (found.ok, found.count) == (False, 1000)
    assert found.examples == tuple(f"row {n}: odd" for n in range(MAX_EXAMPLES))


def test_what_is_harmless_is_told_and_fails_nothing():
    found = finding("name", "promise", "remedy", (violation(n, harmless=True) for n in range(9)))
    assert (found.ok, found.count, found.noted) == (True, 0, 9)
    assert (found.examples, len(found.notes)) == ((), MAX_EXAMPLES)
