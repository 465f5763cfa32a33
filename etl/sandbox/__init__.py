"""A provider simulator: LaunchDarkly, Statsig and Layers.com over real HTTP, with scripted faults.

The demo, the test double and the benchmark target. Shares no code with the extractors.
"""

from etl.sandbox.faults import Fault
from etl.sandbox.server import Sandbox, serve
from etl.sandbox.values import KEYS, Mutation, Sizes
from etl.sandbox.world import World

__all__ = ["KEYS", "Fault", "Mutation", "Sandbox", "Sizes", "World", "serve"]
