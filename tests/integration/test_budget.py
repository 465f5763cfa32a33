"""Rate budgets in the database: shared by everyone with one key, kept by real walks."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy import Engine, text

from etl.errors import RateLimited
from etl.sandbox import KEYS, Sandbox, Sizes, World
from tests.support.internals.running import (
    PROVIDER,
    Client,
    LayersOptions,
    PageReader,
    RateBudget,
    RetryPolicy,
    pages,
)
from tests.support.internals.values import Partition, Window, fingerprint_with, our_share
from tests.support.waiting import until

WINDOWS = (Window(100, 10), Window(900, 900))
START = 1_800_000_000.0
DIFFERENCE = 120  # seconds by which clocks may differ


class Clock:
    """A time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def budget(engine: Engine, clock: Clock, windows=WINDOWS, credential="statsig:fp:1") -> RateBudget:
    return RateBudget(engine=engine, credential=credential, windows=windows, clock=clock.now)


def yielding(engine: Engine, clock: Clock) -> RateBudget:
    """What a backfill has: half of every window, and others go first."""
    half = our_share(WINDOWS, 50)
    return RateBudget(
        engine=engine, credential="statsig:fp:1", windows=half, clock=clock.now, yields=True
    )


def client(url: str, turns: RateBudget, clock: Clock, patience: float = 1000.0) -> Client:
    return Client(
        source="acme",
        base_url=url,
        headers=PROVIDER.headers(KEYS["statsig"]),
        secret=KEYS["statsig"],
        turns=turns,
        patience=RetryPolicy(seconds=patience),
        sleep=clock.sleep,
        clock=clock.now,
        jitter=lambda: 0.5,
    )


def walk(asking: Client, page_size: int):
    """The pages of all layers, one by one."""
    reader = PageReader(fetch=asking.fetch, fingerprint=fingerprint_with("test"))
    stream = PROVIDER.stream("layers")
    first = stream.first_request(Partition(), LayersOptions(page_size=page_size))
    return pages(reader, stream, first)


def test_a_fresh_budget_gives_a_whole_window_at_once(engine):
    clock = Clock()
    turns = budget(engine, clock)
    assert [turns.turn() for _ in range(100)] == [START] * 100


def test_two_holders_of_one_key_share_the_window(engine):
    clock = Clock()
    one, other = budget(engine, clock), budget(engine, clock)
    granted = [turns.turn() for _ in range(60) for turns in (one, other)]
    assert sum(moment == START for moment in granted) == 100


def test_who_waited_for_a_slot_has_it_and_takes_no_other(engine):
    clock = Clock()
    turns = budget(engine, clock)
    later = [turns.turn() for _ in range(101)][-1]
    clock.time = later
    assert later > START
    assert [turns.waited(later) for _ in range(200)] == [later] * 200
    assert turns.turn() == later


def test_a_small_window_is_not_held_by_who_comes_first(engine):
    clock, small = Clock(), (Window(1, 10),)
    one, other = budget(engine, clock, windows=small), budget(engine, clock, windows=small)
    turns = [one.turn(), other.turn(), one.turn()]
    assert turns == pytest.approx([START, START + 10, START + 20], abs=0.5, rel=0)


def test_granted_limits_are_known_for_less_than_a_day(engine):
    clock = Clock()
    turns = budget(engine, clock)
    turns.learn(["100/10s"], WINDOWS)
    assert turns.knows_limits()
    clock.time = START + 86_399
    assert turns.knows_limits()
    clock.time = START + 86_400
    assert not turns.knows_limits()


def test_another_key_has_its_own_window(engine):
    clock = Clock()
    one, other = budget(engine, clock), budget(engine, clock, credential="statsig:fp:2")
    assert [turns.turn() for _ in range(100) for turns in (one, other)] == [START] * 200


def test_unused_slots_are_given_back(engine):
    clock = Clock()
    with closing(budget(engine, clock)) as one:
        one.turn()
    other = budget(engine, clock)
    assert [other.turn() for _ in range(99)] == [START] * 99


def test_a_refusal_of_one_holds_the_others_back(engine):
    clock = Clock()
    one, other = budget(engine, clock), budget(engine, clock)
    one.block(START + 30)
    assert other.turn() == START + 30


def test_a_key_without_windows_heeds_refusals_too(engine):
    clock = Clock()
    one, other = budget(engine, clock, windows=()), budget(engine, clock, windows=())
    one.block(START + 30)
    assert other.turn() == START + 30


def test_a_refusal_that_is_over_is_no_reason(engine):
    clock = Clock()
    turns = budget(engine, clock)
    assert turns.reason() == ""
    turns.block(START + 30, "maintenance")
    assert turns.reason() == "maintenance"
    clock.time = START + 30
    assert turns.reason() == ""


@pytest.mark.parametrize(("ahead", "kept"), [(DIFFERENCE, True), (DIFFERENCE + 1, False)])
def test_a_refusal_by_a_clock_that_has_gone_back_since_is_lifted(engine, ahead, kept):
    clock = Clock()
    one, other = budget(engine, clock), budget(engine, clock)
    one.turn()  # the row is there already, by the right clock
    clock.time = START + ahead
    one.block(START + ahead + 300)
    clock.time = START
    assert other.turn() == (START + ahead + 300 if kept else START)


@pytest.mark.parametrize("windows", [WINDOWS, ()], ids=["windows", "none"])
def test_a_shorter_refusal_does_not_shorten_a_longer_block(engine, windows):
    """Neither for who was refused twice, nor for others, whoever was refused last."""
    clock = Clock()
    one, other, third = (budget(engine, clock, windows=windows) for _ in range(3))
    one.block(START + 300, "the long one")
    one.block(START + 5, "the short one")
    other.block(START + 10, "another short one")
    assert [turns.turn() for turns in (one, other, third)] == [START + 300] * 3
    assert one.reason() == "the long one"


def test_who_knows_of_no_block_yet_keeps_the_longer_one_too(engine):
    """Between two looks at the database a run goes by what it was told itself."""
    clock = Clock()
    turns = budget(engine, clock, windows=())
    assert turns.turn() <= START
    turns.block(START + 300)
    turns.block(START + 4)
    assert turns.turn() == START + 300


def test_a_statsig_sized_walk_keeps_both_windows_and_loses_no_time(engine):
    clock = Clock()
    requests = 2000  # two whole long windows and a bit
    world = World(sizes=Sizes(ld_projects=1, statsig_layers=requests, layers_projects=1))
    with Sandbox(world, rate_limits={}, clock=clock.now) as sandbox:
        turns = budget(engine, clock)
        with closing(client(sandbox.url, turns, clock)) as asking:
            found = sum(len(page.items) for page in walk(asking, page_size=1))
            retries = asking.traffic.retries
    shortest = 2 * 900 + 10  # 900, 900, then 100 and 100 more
    assert (found, retries) == (requests, 0)
    assert clock.time - START <= shortest * 1.05


def test_two_processes_that_ask_at_the_same_moment_get_different_slots(databases) -> None:
    """On Postgres, where both wait for the row; SQLite lets one in at a time."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    clock, small = Clock(), (Window(1, 10),)
    with databases("postgres") as engine, ThreadPoolExecutor() as pool:
        budget(engine, clock, windows=small).turn()
        both = [budget(engine, clock, windows=small) for _ in range(2)]
        with engine.begin() as third, engine.connect() as watching:
            third.execute(text("UPDATE rate_budgets SET updated_at = updated_at"))
            turns = [pool.submit(one.turn) for one in both]

            def both_wait() -> bool:
                watching.rollback()
                return bool(watching.execute(text(waiting)).scalar() == len(turns))

            assert until(both_wait)
        found = sorted(one.result() for one in turns)
    assert found == pytest.approx([START + 10, START + 20], abs=0.5, rel=0)


def test_two_processes_with_one_key_are_never_refused(engine):
    clock = Clock()
    world = World(sizes=Sizes(ld_projects=1, statsig_layers=600, layers_projects=1))
    with Sandbox(world, rate_limits={}, clock=clock.now) as sandbox:
        both = [client(sandbox.url, budget(engine, clock), clock) for _ in range(2)]
        walks = [walk(asking, page_size=1) for asking in both]
        for _ in zip(*walks, strict=True):
            pass
        retries = sum(asking.traffic.retries for asking in both)
        for asking in both:
            asking.close()
    assert retries == 0
    assert clock.time - START <= (900 + 30) * 1.05


def test_a_turn_beyond_the_patience_parks_the_run(engine):
    clock = Clock()
    with Sandbox(World(sizes=Sizes(statsig_layers=30))) as sandbox:
        turns = budget(engine, clock, windows=(Window(10, 900),))
        asking = client(sandbox.url, turns, clock, patience=120)
        with closing(asking), pytest.raises(RateLimited) as caught:
            list(walk(asking, page_size=1))
        assert len(sandbox.requests) == 10
    assert caught.value.retry_at.timestamp() == pytest.approx(START + 909, abs=1)


def test_a_run_that_yields_leaves_half_of_every_window_to_the_others(engine):
    clock = Clock()
    backfill, scheduled = yielding(engine, clock), budget(engine, clock)
    granted = 0
    while (turn := backfill.turn()) - START < 900:
        granted += turn <= clock.time
        clock.time = max(clock.time, turn)
    assert granted == 450
    assert [scheduled.turn() for _ in range(50)] == [clock.time] * 50


def test_a_run_that_yields_stands_still_while_others_use_more_than_its_half(engine):
    clock = Clock()
    backfill, scheduled = yielding(engine, clock), budget(engine, clock)
    before = [scheduled.turn() for _ in range(60)]
    later = backfill.turn()
    assert later > START
    assert before + [scheduled.turn() for _ in range(40)] == [START] * 100
    clock.time = later
    assert backfill.waited(later) == later  # it had booked nothing, and is served now


def test_a_scheduled_walk_does_not_wait_for_a_backfill_of_the_same_key(engine):
    clock = Clock()
    world = World(sizes=Sizes(ld_projects=1, statsig_layers=250, layers_projects=1))
    with Sandbox(world, rate_limits={}, clock=clock.now) as sandbox:
        backfill = client(sandbox.url, yielding(engine, clock), clock)
        scheduled = client(sandbox.url, budget(engine, clock), clock)
        pages_of_backfill = walk(backfill, page_size=1)
        for _ in range(130):
            next(pages_of_backfill)
        found = sum(len(page.items) for page in walk(scheduled, page_size=5))
        waited, asked = scheduled.traffic.waited, scheduled.traffic.requests
        rest = sum(1 for _ in pages_of_backfill)
        retries = scheduled.traffic.retries + backfill.traffic.retries
        for one in (backfill, scheduled):
            one.close()
    assert (found, asked, waited) == (250, 50, 0)
    assert (rest, retries) == (120, 0)
