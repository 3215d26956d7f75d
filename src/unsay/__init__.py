"""Unsay makes a language model forget chosen data, and shows how far it really forgot."""
