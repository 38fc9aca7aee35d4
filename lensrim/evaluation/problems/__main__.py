"""``python -m lensrim.evaluation.problems``: three problems that are not lensing."""

import sys

from ...errors import status_of
from .suite import parse, run

sys.exit(status_of(lambda: run(parse())))
