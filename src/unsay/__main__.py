"""``python -m unsay`` and ``accelerate launch -m unsay``."""

from .cli.app import main

if __name__ == "__main__":
    main()
