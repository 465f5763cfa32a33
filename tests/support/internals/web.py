"""What tests use of the web console and the health port.

Tests of behaviour import internals from here only: where code moves, this file follows.
"""

from etl.schedule.health import MAX_CONNECTIONS, Metrics, served
from etl.web.app import CHANGES, LOGIN, PAGES, application
from etl.web.connection import ConnectionTimeouts
from etl.web.feeds import AT_ONCE
from etl.web.guard import COOKIE, Guard, Token
from etl.web.server import Door, serve
from etl.web.token_strength import is_strong
