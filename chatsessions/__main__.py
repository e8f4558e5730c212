"""Make ``python -m chatsessions`` the command ``chatsessions``."""

import sys

from .cli.main import main

sys.exit(main())
