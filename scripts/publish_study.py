"""Keep a run as a part of a published study, and build the study's page from its parts.

    python scripts/publish_study.py keep RUN PART STUDY [key=value ...]
    python scripts/publish_study.py build STUDY

STUDY and key=value are what followed `kdscope run`. ``keep`` copies the small tables of the finished run
RUN to ``docs/studies/parts/<study>/PART`` with a record of command, settings, machine, versions and time;
``--replace`` takes the place of a part of that name. ``build`` puts all parts of a study together,
computes the statistics anew, and writes ``docs/studies/STUDY/``, ``docs/studies/README.md`` and what
stands between the markers of ``README.md``.
"""

import argparse
import sys
from pathlib import Path

from kdscope.errors import UserError
from kdscope.study.published import build_study, keep

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    keeping = verbs.add_parser("keep", help="a finished run as a part")
    keeping.add_argument("run", type=Path)
    keeping.add_argument("part")
    keeping.add_argument("study")
    keeping.add_argument("overrides", nargs="*")
    keeping.add_argument("--replace", action="store_true")
    verbs.add_parser("build", help="page and summaries").add_argument("study")
    args = parser.parse_args()
    parts = ROOT / "docs" / "studies" / "parts"
    try:
        if args.verb == "build":
            files = build_study(args.study, ROOT)
        else:
            files = [
                keep(args.run, args.part, args.study, args.overrides, parts, replace=args.replace)
            ]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
