"""`python -m etl` and the command `etl`."""

from etl.cli import main

if __name__ == "__main__":
    main()

__all__ = ["main"]
