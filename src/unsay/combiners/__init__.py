"""How the gradients of the forget term and of the retain term become one step. One file, one way."""
