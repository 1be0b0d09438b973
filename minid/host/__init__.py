"""What touches the machine and knows no recipe."""
