"""Settings: ``base`` holds what is the same everywhere; the others only choose back-ends."""
