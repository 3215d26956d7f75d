"""The things a text talks about; the rules stand in `unsay.data.entities`, which writers and gates read too."""

from ..data.entities import VERSION, akin, content_words, entities, plain_words, stem, words_f1

__all__ = ["VERSION", "akin", "content_words", "entities", "plain_words", "stem", "words_f1"]
