"""`python -m fieldcodec` is the same as the command `fieldcodec`."""

import sys

from fieldcodec.cli import main

if __name__ == "__main__":
    sys.exit(main())
