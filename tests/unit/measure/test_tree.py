from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unsay.measure.tree import grow


def test_shared_beginnings_stand_once():
    (tree,) = grow([(0, [1, 2, 3, 4, 9], 2), (1, [1, 2, 3, 5, 9], 2), (2, [1, 2, 9], 2)], 100)
    assert tree.tokens.tolist() == [1, 2, 3, 4, 5]
    assert tree.parents.tolist() == [-1, 0, 1, 2, 2]
    assert tree.depths.tolist() == [0, 1, 2, 3, 3]
    assert tree.leaves[1].before.tolist() == [1, 2, 4]
    assert tree.leaves[1].target.tolist() == [3, 5, 9]
    assert not tree.chain
    assert tree.longest == 4
    assert tree.ancestors()[4].tolist() == [True, True, True, False, True]


prompts = st.lists(st.integers(0, 3), min_size=1, max_size=4)
answers = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=8)


@given(prompts, answers, st.integers(1, 30))
def test_every_path_is_its_sequence(prompt, texts, limit):
    trees = grow([(i, prompt + a, len(prompt)) for i, a in enumerate(texts)], limit)
    seen = []
    for tree in trees:
        assert len(tree) <= max(limit, *(len(prompt + texts[leaf.index]) - 1 for leaf in tree.leaves))
        pairs = list(zip(tree.parents.tolist(), tree.tokens.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
        visible = tree.ancestors()
        for leaf in tree.leaves:
            sequence = prompt + texts[leaf.index]
            path = np.flatnonzero(visible[leaf.before[-1]])
            assert tree.tokens[path].tolist() == sequence[:-1]
            assert tree.depths[path].tolist() == list(range(len(sequence) - 1))
            assert path[len(prompt) - 1 :].tolist() == leaf.before.tolist()
            assert leaf.target.tolist() == sequence[len(prompt) :]
            seen.append(leaf.index)
    assert sorted(seen) == list(range(len(texts)))
