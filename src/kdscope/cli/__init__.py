"""The command line: Typer verbs in panels, no logic.

Each verb parses its arguments, calls one function of the room that does the work, and prints. Imports of
those rooms are deferred to the verb, so that ``kdscope --help`` answers at once. Panels and verbs are shown
in the order of the imports below.
"""

import sys

# isort: off
from kdscope.cli import study as _study  # noqa: F401 -- each import adds its verbs, in this order
from kdscope.cli import start as _start  # noqa: F401
from kdscope.cli import comparing as _comparing  # noqa: F401
from kdscope.cli import data as _data  # noqa: F401
from kdscope.cli import share as _share  # noqa: F401

# isort: on
from kdscope.cli.base import app, say
from kdscope.errors import KdscopeError, UserError

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: a user's mistake is one message and exit status 2, without a traceback."""
    try:
        app()
    except UserError as error:
        say(f"error: {error}")
        sys.exit(2)
    except KdscopeError as error:
        say(f"failed: {error}")
        sys.exit(1)
