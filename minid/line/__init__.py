"""How one run walks the steps: the doors it works through, its plan, its stages."""
