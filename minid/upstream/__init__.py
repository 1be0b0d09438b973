"""Where releases come from, how they are ordered, judged and verified. Knows no queue and no step."""
