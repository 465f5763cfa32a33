"""Notifications: what is wrong since when, who is told, and how."""
