"""Inside a model: what its layers hold, which parts an answer needs, and what happens when states are exchanged."""
