"""Dumps of what the providers answered: their layout, writer and reader."""
