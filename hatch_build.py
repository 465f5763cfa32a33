"""Build hook: a distribution holds what git tracks, whatever else lies in the checkout."""

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TrackedFilesOnly(BuildHookInterface[Any]):
    """Names the files of the sdist and the wheel one by one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Runs before the files are collected. An unpacked sdist or an image has no git: all."""
        root = Path(self.root)
        files = _tracked(root) if (root / ".git").exists() else _present(root)
        if self.target_name == "sdist":
            self.build_config.target_config["only-include"] = files
        elif version == "standard":
            packages = [name for name in files if name.startswith("etl/")]
            self.build_config.target_config["only-include"] = packages
            build_data["force_include"] |= {
                str(root / name): f"etl/{name}" for name in files if name.startswith("migrations/")
            }


def _tracked(root: Path) -> list[str]:
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True)  # noqa: S603
    names = listed.stdout.decode().split("\0")
    return [name for name in names if name and (root / name).is_file()]


def _present(root: Path) -> list[str]:
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
