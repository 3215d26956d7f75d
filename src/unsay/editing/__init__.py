"""Editing weights in closed form: keys, null spaces, solves, values, and a token to point at."""
