"""``python -m lensrim.evaluation.problems``: three problems that are not lensing."""

import sys

from ...errors import InputError
from .suite import parse, run

try:
    run(parse())
except InputError as error:
    print("lensrim: error:", " ".join(str(error).split()), file=sys.stderr)
    sys.exit(2)
