"""Which vendor a path belongs to, and the vendor's answer to a call: fresh, kept or spoiled."""

from collections.abc import Sequence
from typing import Any

from etl.sandbox import launchdarkly, layers_com, statsig
from etl.sandbox.fault_answers import ANSWERS
from etl.sandbox.fault_bodies import BODIES
from etl.sandbox.fault_pages import PAGES, first_page
from etl.sandbox.faults import Fault
from etl.sandbox.message import (
    Call,
    Question,
    Refusal,
    Reply,
    Vendor,
    encoded,
    parameters,
    segments_after,
)
from etl.sandbox.world import World

VENDORS = (launchdarkly.VENDOR, statsig.VENDOR, layers_com.VENDOR)
MOST_KEPT = 128 << 20  # bytes of bodies

Key = tuple[int, str, str, int, bool]  # the world's version, target, audience, variant, dated


def vendor_of(path: str) -> Vendor | None:
    """The vendor that answers below this path."""
    return next((vendor for vendor in VENDORS if path.startswith(vendor.prefix + "/")), None)


class Answers:
    """The vendors' answers about a world; what was asked before is kept until the world moves."""

    def __init__(self, world: World, page_cap: int | None) -> None:
        self._world, self._page_cap = world, page_cap
        self._kept: dict[Key, Reply] = {}
        self._kept_version, self._kept_bytes = -1, 0

    def reply(self, vendor: Vendor, call: Call, audience: str, variant: int) -> Reply:
        """The vendor's true answer."""
        dated = vendor is launchdarkly.VENDOR and launchdarkly.dated(call.headers)
        key = (self._world.version, call.target, audience, variant, dated)
        found = self._kept.get(key)
        if found is not None:
            return found
        with self._world.lock:
            page = self._page(vendor, self._question(vendor, call, audience, variant))
            reply = _as_reply(page)
            self._keep((self._world.version, *key[1:]), reply)
        return reply

    def spoiled(
        self, vendor: Vendor, call: Call, audience: str, faults: Sequence[Fault], now: float
    ) -> Reply:
        """The answer as these faults leave it; it is kept nowhere."""
        first = faults[0]
        if first.kind in ANSWERS:
            return ANSWERS[first.kind](vendor, call.headers, first.arg, now)
        question = self._question(vendor, call, audience, 0)
        if any(fault.kind == "same_page" for fault in faults):
            question = first_page(question)
        with self._world.lock:
            page = self._page(vendor, question)
            for fault in faults:
                if fault.kind in PAGES and not isinstance(page, Reply):
                    page = PAGES[fault.kind](vendor, question, page, fault.arg)
            reply = _as_reply(page)
        return BODIES[first.kind](reply, first.arg) if first.kind in BODIES else reply

    def _question(self, vendor: Vendor, call: Call, audience: str, variant: int) -> Question:
        return Question(
            method=call.method,
            target=call.target,
            path=call.path,
            segments=segments_after(vendor.prefix, call.path),
            query=parameters(call.query),
            audience=audience,
            variant=variant,
            page_cap=self._page_cap,
            dated=vendor is launchdarkly.VENDOR and launchdarkly.dated(call.headers),
        )

    def _page(self, vendor: Vendor, question: Question) -> Any:
        try:
            return vendor.answer(self._world, question)
        except Refusal as refusal:
            return vendor.error(refusal.status, refusal.message)

    def _keep(self, key: Key, reply: Reply) -> None:
        if self._kept_version != key[0] or self._kept_bytes > MOST_KEPT:
            self._kept.clear()
            self._kept_version, self._kept_bytes = key[0], 0
        self._kept[key] = reply
        self._kept_bytes += len(reply.body)


def without_keys(text: str, keys: Sequence[str]) -> str:
    """The text with every key struck out."""
    for key in keys:
        text = text.replace(key, "[key]")
    return text


def _as_reply(page: Any) -> Reply:
    return page if isinstance(page, Reply) else Reply(status=200, body=encoded(page))
