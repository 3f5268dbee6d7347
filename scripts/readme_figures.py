"""Make the README's picture and its accuracy table from a run.

    python scripts/readme_figures.py runs/quickstart

Writes ``docs/images/quickstart.svg`` and ``.png`` and replaces what stands between the two
``<!-- quickstart-table -->`` markers of ``README.md``.
"""

import sys
from pathlib import Path

from kdscope.errors import UserError
from kdscope.report import readme_figures


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for path in readme_figures(Path(sys.argv[1]), Path(__file__).parents[1]):
            print(path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
