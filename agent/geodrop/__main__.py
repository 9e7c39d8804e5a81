# SPDX-License-Identifier: Apache-2.0
"""`python -m geodrop`: the same as the `geodrop` command."""

import sys

from geodrop.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
