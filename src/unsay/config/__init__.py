"""Plans: the document that says everything one run depends on."""
