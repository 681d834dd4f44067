"""Our JSON of ticks: the plain codec, and its compiled scanner."""
