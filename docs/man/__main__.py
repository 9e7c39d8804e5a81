# SPDX-License-Identifier: Apache-2.0
"""`make man`: update the generated tables of the documentation, and write the man pages into build/man."""

from docs.man.pages import DOCS, write

for path in write(DOCS.parent / "build" / "man"):
    print(path.relative_to(DOCS.parent))
