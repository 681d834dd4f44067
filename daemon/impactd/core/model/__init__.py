"""The impact model: its kinds, their fit to one minute, and the live state of one side."""
