"""Extract: requests within a provider's limits, answers into the clean pages of one list."""
