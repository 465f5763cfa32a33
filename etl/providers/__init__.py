"""The vendors etl reads, by the name used in the configuration. One file each, data and functions.

To add one: its file, one line here, samples in tests/samples/<provider>/, a source in the config.
"""

from collections.abc import Mapping
from types import MappingProxyType

from etl.providers import launchdarkly, layers_com, statsig
from etl.providers.kit import Provider

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        provider.name: provider
        for provider in (launchdarkly.PROVIDER, statsig.PROVIDER, layers_com.PROVIDER)
    }
)
