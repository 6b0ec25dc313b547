"""`python -m thalweg.app` is the `thalweg` command."""

import sys

from thalweg.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
