"""What an objective sees and the machinery that steps."""
