"""The configuration: the file, its values and secrets, and what is wrong with them."""
