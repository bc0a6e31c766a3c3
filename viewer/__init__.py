"""The viewer: one core (state, worker, layers, panels) and its faces (web)."""
