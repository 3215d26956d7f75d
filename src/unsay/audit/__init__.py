"""Does it really forget? Attacks on a model and on its controls, and what is left once the controls are taken off."""
