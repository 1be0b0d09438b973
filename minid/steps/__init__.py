"""The steps of the line, each a function from one frozen value to the next."""
