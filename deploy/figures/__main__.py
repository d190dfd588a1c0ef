"""`python -m deploy.figures`: see `render.py`."""

import sys

from deploy.figures.render import main

main(sys.argv[1:])
