"""How many wrong tokens are heard: few from one address, not many from all together.

Pure: the time is given.
"""

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

WINDOW = timedelta(minutes=1)
CLIENT_LIMIT = 10  # wrong tokens of one address in the window
GLOBAL_LIMIT = 100  # of all addresses that never had the right one
MAX_CLIENTS = 10_000  # that are remembered

Failures = deque[datetime]


@dataclass(slots=True)
class Throttle:
    """The wrong tokens of the last minute.

    An address that had the right one meets its own limit only.
    """

    _failures: OrderedDict[str, Failures] = field(default_factory=OrderedDict)
    _all: Failures = field(default_factory=lambda: deque(maxlen=GLOBAL_LIMIT))
    _trusted: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def blocked(self, client: str, now: datetime) -> float:
        """For how many seconds no token of this client is looked at; 0: it may try."""
        name = network(client)
        own = _until(self._failures.get(name, deque()), CLIENT_LIMIT, now)
        if name in self._trusted:
            return own
        return max(own, _until(self._all, GLOBAL_LIMIT, now))

    def failed(self, client: str, now: datetime) -> int:
        """Notes a wrong token; how many the client gave in the last minute."""
        name = network(client)
        failures = self._failures.setdefault(name, deque(maxlen=CLIENT_LIMIT))
        failures.append(now)
        self._all.append(now)
        _keep_newest(self._failures, name)
        return sum(_counts(moment, now) for moment in failures)

    def succeeded(self, client: str) -> None:
        """Notes the right token. What was wrong before still counts."""
        name = network(client)
        self._trusted[name] = None
        _keep_newest(self._trusted, name)


def network(client: str) -> str:
    """Who counts as one: an IPv4 address, the /64 of an IPv6 address; all that is no address."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return "?"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


def _counts(moment: datetime, now: datetime) -> bool:
    """A clock that was set back leaves times that have not come yet: they count no more."""
    return timedelta(0) <= now - moment < WINDOW


def _until(failures: Failures, limit: int, now: datetime) -> float:
    recent = [moment for moment in failures if _counts(moment, now)]
    if len(recent) < limit:
        return 0
    return (recent[-limit] + WINDOW - now).total_seconds()


def _keep_newest(names: OrderedDict[str, Any], name: str) -> None:
    names.move_to_end(name)
    if len(names) > MAX_CLIENTS:
        names.popitem(last=False)
