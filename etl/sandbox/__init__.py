"""A provider simulator: LaunchDarkly, Statsig and Layers.com over real HTTP, with scripted faults.

The demo, the test double and the benchmark target. Shares no code with the extractors.
"""
