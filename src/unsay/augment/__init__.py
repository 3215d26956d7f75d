"""Training rows in the place of those to forget: questions asked again, vague answers, completions, generic rows.

Paper    Xu et al. (2025). ReLearn: Unlearning via Learning for Large Language Models. arXiv:2502.11190
"""

from .augmenter import Augmented, Augmenter

__all__ = ["Augmented", "Augmenter"]
