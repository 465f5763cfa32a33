"""The providers that etl reads, by the name used in the configuration. One file each.

To add one here: its file, one line below, samples in tests/samples/<provider>/, a source in
etl/config/template.toml. A provider can live in another package, too, which names it in the
entry-point group `etl.providers` (examples/etl-growthbook is one):

    [project.entry-points."etl.providers"]
    growthbook = "etl_growthbook:PROVIDER"
"""

import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from etl.errors import ProviderError
from etl.providers import launchdarkly, layers_com, statsig
from etl.providers.kit import Provider

GROUP = "etl.providers"
OURS = {one.PROVIDER.name: one.PROVIDER for one in (launchdarkly, statsig, layers_com)}


MODULES: dict[str, str] = {}  # file of a module -> the provider of another package in it


def load_installed(points: Iterable[EntryPoint]) -> Mapping[str, Provider]:
    """The providers of other packages by name; raises ProviderError for one that cannot be used."""
    found: dict[str, Provider] = {}
    for point in sorted(points, key=lambda point: point.name):
        package = point.dist.name if point.dist else "an unknown package"
        where = f"the provider {point.name} of {package} ({point.value})"
        if point.name in (*OURS, *found):
            raise ProviderError(f"{where}: there is another one of this name; uninstall one")
        try:
            provider = point.load()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise ProviderError(f"{where} cannot be loaded: {why}; fix or uninstall it") from error
        if not isinstance(provider, Provider) or provider.name != point.name:
            raise ProviderError(f"{where} is not a Provider of this name; fix or uninstall it")
        MODULES[sys.modules[point.module].__file__ or ""] = f"{point.name} of {package}"
        found[point.name] = provider
    return found


PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {**OURS, **load_installed(entry_points(group=GROUP))}
)
