"""Who writes what a method needs beside the data: refusals and wrong answers. One file, one back-end.

`templates.py` is ``templates``, `openai_compatible.py` is ``openai-compatible``. Methods call `obtain`, never a
back-end: it checks what comes back, fills gaps, and keeps everything in the run's ``writings.jsonl``.
"""

from ._obtain import obtain
from ._protocol import Writer

__all__ = ["Writer", "obtain"]
