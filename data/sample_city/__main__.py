"""Write the sample city's files into a folder: `python -m data.sample_city data/sample`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data.sample_city.make import is_current, make_files


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m data.sample_city", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files go; made if it is not there")
    parser.add_argument("--again", action="store_true", help="write them even if they are current")
    asked = parser.parse_args()
    if not asked.again and is_current(asked.folder):
        sys.stdout.write(f"{asked.folder} is up to date\n")
        return
    for path, rows in make_files(asked.folder):
        sys.stdout.write(f"{path}  {rows:,} rows\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
