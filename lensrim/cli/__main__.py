"""``python -m lensrim.cli``: the command without its installed script."""

import sys

from . import main

sys.exit(main())
