"""Where Unsay keeps what several runs share: models it fetched, measurements it made."""

import os
from pathlib import Path


def home() -> Path:
    """``$UNSAY_HOME``, or ``~/.cache/unsay``. Read anew at each call; the folder may not exist yet."""
    return Path(os.environ.get("UNSAY_HOME") or "~/.cache/unsay").expanduser().absolute()
