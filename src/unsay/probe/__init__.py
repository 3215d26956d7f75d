"""``unsay probe``: models side by side, looked at from the inside."""
