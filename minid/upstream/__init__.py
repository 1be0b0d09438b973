"""Where releases come from, how they are ordered, judged, verified. Knows no queue and no step."""
