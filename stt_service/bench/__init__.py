"""`poe bench`: what the service costs, measured beside what it could cost."""
